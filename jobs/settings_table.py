"""Renders the settings as the README's table: `python -m embed_index.jobs.settings_table`."""

import click

from embed_index.jobs.show_config import toml_value
from embed_index.schemas.setting import SettingField
from embed_index.schemas.settings import SETTINGS

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
