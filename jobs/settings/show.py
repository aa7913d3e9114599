"""Shows settings: those that hold, as a job file would say them, and all of them as a table.

`python -m embed_index.jobs.settings.show` prints the table that stands in the documentation.
"""

import json
from pathlib import Path

import click

from embed_index.jobs.settings.loading import LoadedSettings
from embed_index.pipeline.secrecy.redaction import MASK, mask_userinfo
from embed_index.schemas.setting import SettingField
from embed_index.schemas.settings import SETTINGS


def render_config(loaded: LoadedSettings) -> str:
    """Return one line per setting in TOML; what no job file can hold is a comment."""
    sections = dict.fromkeys(field.section for field in SETTINGS)
    return "\n\n".join(_section(loaded, section) for section in sections)


def _section(loaded: LoadedSettings, section: str) -> str:
    fields = [field for field in SETTINGS if field.section == section]
    return "\n".join([f"[{section}]", *(_line(loaded, field) for field in fields)])


def _line(loaded: LoadedSettings, field: SettingField) -> str:
    value = getattr(loaded.settings, field.name)
    origin = loaded.sources[field.name].origin
    if value is None:
        return f"# {field.key} is not set  # {origin}"
    comment = "" if field.in_job_file else "# "
    return f"{comment}{field.key} = {toml_value(field, value)}  # {origin}"


def toml_value(field: SettingField, value: object) -> str:
    """Return a value as TOML writes it, with secrets and credentials in URLs masked."""
    if field.secret:
        value = MASK
    if isinstance(value, Path):
        value = str(value)
    return mask_userinfo(toml_literal(value))


def toml_literal(value: object) -> str:
    """Return text, numbers or lists of them as TOML writes them."""
    # As JSON does, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


_HEAD = (
    "| Job file | Flag | Environment | Default | Meaning |",
    "|---|---|---|---|---|",
)


def render_settings_table() -> str:
    """Return a Markdown table with one row per setting, in the order of the job file."""
    return "\n".join([*_HEAD, *(_row(field) for field in SETTINGS)])


def _row(field: SettingField) -> str:
    key = f"`[{field.section}] {field.key}`" if field.in_job_file else "–"
    flags = " ".join(f"`{flag}`" for flag in (field.flag, field.negation) if flag) or "–"
    env = f"`{field.env}`" if field.env else "–"
    unset = field.default in (None, "", ())
    default = "–" if unset else f"`{toml_value(field, field.default)}`"
    meaning = field.setting.help.replace("|", r"\|")
    return f"| {key} | {flags} | {env} | {default} | {meaning} |"


if __name__ == "__main__":
    click.echo(render_settings_table())
