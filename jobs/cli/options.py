"""Command line options, made from the declarations of the settings, and those of key places."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from embed_index.jobs.cli.job_file import JOB_FILE
from embed_index.jobs.cli.local_path import LocalPath
from embed_index.schemas.setting import SettingField
from embed_index.schemas.settings import SETTINGS, settings_of

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_STORE = tuple(name for name in settings_of(["milvus"]) if name != "collection")
_MODEL = ("model", "model_source", "revision", "dtype")
_QUERY = ("mixed_precision",)
_MANAGED_SERVER = ("server_port", "server_extra_args", "start_timeout_seconds", "gpus", "state_dir")
_REMOTE_SERVER = ("server_url", "request_timeout_seconds")
_TYPES: dict[str, "click.ParamType[Any]"] = {
    "integer": click.INT,
    "number": click.FLOAT,
}
_PATH = LocalPath()
"""Refuses nothing, but has shells complete files; for values that may also be a URL or an id."""


class SettingOption(click.Option):
    """An option that belongs to a section of the settings."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SettingArgument(click.Argument):
    """An argument that is a setting."""


class SettingCommand(click.Command):
    """A command whose help groups the options as the job file does."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then those of each section."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for param in self.get_params(ctx):
            if not isinstance(param, click.Option):
                continue
            title = f"[{param.section}]" if isinstance(param, SettingOption) else "Options"
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(title, []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def job_options(command: Decorated) -> Decorated:
    """Add every setting that has a flag."""
    return _add(command, (field.name for field in SETTINGS))


def corpus_options(command: Decorated) -> Decorated:
    """Add what says how a collection is made of its corpus, but not the collection's name."""
    of_runs = ("collection", "rebuild", "limit", "retry_after_days", *settings_of(["quality"]))
    of_reports = ("report", "report_texts", "report_color_by")
    of_plans = ("max_tokens_embedded", "max_cost", "price_per_gpu_hour")
    others = (*of_runs, *of_reports, *of_plans, "metrics_file", "quiet", "log_format")
    others += ("ray", "ray_cpus")
    return _add(command, (field.name for field in SETTINGS if field.name not in others))


def store_options(command: Decorated) -> Decorated:
    """Add the settings with which a collection is reached."""
    return _add(command, _STORE)


def index_options(command: Decorated) -> Decorated:
    """Add the settings with which a collection is reached, and what is indexed how."""
    return _add(command, (*_STORE, "state_dir", *settings_of(["index"])))


def import_options(command: Decorated) -> Decorated:
    """Add what a collection may be told that is made of another one's files."""
    own = ("collection", "dimension", "state_dir", "max_delete_share", "force")
    return _add(command, (*_STORE, *own, *settings_of(["index"])))


def storage_options(command: Decorated) -> Decorated:
    """Add where stores are in which corpora may be."""
    return _add(command, ("source_endpoint", "source_region"))


def chunk_options(command: Decorated) -> Decorated:
    """Add what decides how documents are read and cut."""
    sections = settings_of(["source", "chunking"])
    return _add(command, (*sections, *_MODEL, "document_instruction", "state_dir"))


def search_options(command: Decorated) -> Decorated:
    """Add the settings with which a collection is reached and a query is embedded."""
    return _add(command, (*_MODEL, *_QUERY, *_STORE, *_REMOTE_SERVER, *_MANAGED_SERVER))


def serve_options(command: Decorated) -> Decorated:
    """Add the settings of a server that runs by itself."""
    own = ("max_tokens", "request_timeout_seconds", "grace_seconds")
    return _add(command, (*_MODEL, *own, *_MANAGED_SERVER))


def server_options(command: Decorated) -> Decorated:
    """Add the address of servers that somebody else runs."""
    return _add(command, ("server_url",))


def rotation_options(command: Decorated) -> Decorated:
    """Add the settings with which the server of `embed-index serve` is found and waited for."""
    return _add(command, ("state_dir", "start_timeout_seconds"))


def destruction_options(command: Decorated) -> Decorated:
    """Add the settings with which servers are found that may still take a key."""
    return _add(command, ("server_url", "state_dir"))


def version_options(command: Decorated) -> Decorated:
    """Add the settings with which a collection's versions are reached and its ledger is found."""
    return _add(command, (*_STORE, "state_dir"))


def promotion_options(command: Decorated) -> Decorated:
    """Add the settings of versions, and those with which one is judged before it goes live."""
    quality = settings_of(["quality"])
    searching = (*_MODEL, *_QUERY, *_REMOTE_SERVER, *_MANAGED_SERVER)
    return _add(command, (*_STORE, *quality, *searching))


def ledger_options(command: Decorated) -> Decorated:
    """Add the settings with which a collection's ledger is found."""
    return _add(command, ("milvus_uri", "milvus_db", "state_dir"))


def collection_argument(command: Decorated) -> Decorated:
    """Add the collection as an argument, for the commands that work on a job's."""
    return click.argument("collection", cls=SettingArgument)(command)


def job_file_option(command: Decorated) -> Decorated:
    """Add `--job`, for the commands that take something else as argument."""
    option = click.option(
        "--job",
        "job_file",
        type=JOB_FILE,
        metavar="JOB.toml",
        help="Take settings from this job file, too.",
    )
    return option(command)


def key_file_option(command: Decorated) -> Decorated:
    """Add `--key-file`, for the commands that only read the key."""
    option = click.option(
        "--key-file",
        type=LocalPath(path_type=Path),
        metavar="FILE",
        help="File of mode 0600 that holds the API key and nothing else.",
    )
    return option(command)


def show_config_option(command: Decorated) -> Decorated:
    """Add `--show-config`."""
    option = click.option(
        "--show-config",
        is_flag=True,
        help="Print each setting and where it comes from, secrets masked, and do nothing else.",
    )
    return option(command)


def _add(command: Decorated, names: Iterable[str]) -> Decorated:
    wanted = set(names)
    # Decorators apply from the bottom up, so the last option comes first.
    for field in reversed(SETTINGS):
        if field.name in wanted and field.flag is not None:
            command = _option(field, field.flag)(command)
    return command


def _option(field: SettingField, flag: str) -> Callable[[Decorated], Decorated]:
    shared: dict[str, Any] = {
        "cls": SettingOption,
        "section": field.section,
        "help": _help(field),
        "default": None,
    }
    if field.kind == "boolean":
        names = f"{flag}/{field.negation}" if field.negation else flag
        return click.option(names, field.name, is_flag=True, **shared)
    type_: click.ParamType[Any] = (
        _PATH if field.setting.location else _TYPES.get(field.kind, click.STRING)
    )
    if field.many:
        # One text may hold several entries.
        type_ = _PATH if field.setting.location else click.STRING
        return click.option(
            flag, field.name, type=type_, multiple=True, metavar=_metavar(field), **shared
        )
    choice = click.Choice(field.choices) if field.choices else None
    metavar = None if choice else _metavar(field)
    return click.option(flag, field.name, type=choice or type_, metavar=metavar, **shared)


def _metavar(field: SettingField) -> str:
    if field.kind in ("integer", "number"):
        return "N" if field.kind == "integer" else "X"
    return {"path": "PATH", "path_or_url": "PATH", "model": "MODEL"}.get(
        field.setting.location or "", "TEXT"
    )


def _help(field: SettingField) -> str:
    notes = []
    if field.default not in (None, "", ()) and field.kind != "boolean":
        default = f"{field.default:g}" if field.kind == "number" else field.default
        default = ", ".join(default) if field.many else default
        notes.append(f"default: {default}")
    if field.env:
        notes.append(f"env: {field.env}")
    return f"{field.setting.help}  [{'; '.join(notes)}]" if notes else field.setting.help


def key_place_options(command: Decorated) -> Decorated:
    """Add `--key-file` and `--env-file`, of which one must be given."""
    path = LocalPath(path_type=Path)
    for flag, metavar, text in (
        ("--env-file", ".env", "File with EMBEDDING_API_KEY among other entries."),
        ("--key-file", "FILE", "File that holds the key and nothing else."),
    ):
        command = click.option(flag, type=path, metavar=metavar, help=text)(command)
    return command
