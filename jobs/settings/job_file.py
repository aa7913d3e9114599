"""Reads a job file: TOML with one section per area."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from glob import has_magic
from pathlib import Path

from embed_index.jobs.cli.job_file import no_job_file
from embed_index.jobs.settings.mistakes import Mistakes
from embed_index.jobs.settings.sourced import Sourced, refuse, split
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.setting import SettingField
from embed_index.schemas.settings import SETTINGS

_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "path": (str,),
    "choice": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_TYPE_NAMES = {
    "text": "text in quotes",
    "path": "a path in quotes",
    "choice": "text in quotes",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}

_PARQUET = b"PAR1"
"""What every Parquet file begins with, unless its footer is encrypted."""


def read_job_file(path: Path, mistakes: Mistakes) -> dict[str, Sourced]:
    """Return the settings of a job file by field name, each of the type that the field wants.

    Args:
        path: Of the file.
        mistakes: Take what is left out: unknown sections and keys, values of the wrong type,
            secrets.

    Raises:
        ConfigurationError: The file cannot be read, or is not TOML.
    """
    sections = _parse(path)
    fields = {(field.section, field.key): field for field in SETTINGS if field.in_job_file}
    settings: dict[str, Sourced] = {}
    for section, entries in sections.items():
        if section not in {field.section for field in SETTINGS}:
            mistakes.add(_unknown_section(path, section))
            continue
        if not isinstance(entries, Mapping):
            mistakes.add(
                ConfigurationError(
                    f"{path.name}: {section} must be a section, not a value",
                    remedy=f"Write [{section}] on a line of its own, its settings below it.",
                )
            )
            continue
        for key, value in entries.items():
            field = fields.get((section, key))
            if field is None:
                mistakes.add(_unknown_key(path, section, key))
                continue
            origin = f"{path.name} [{section}] {key}"
            given = Sourced(value=value, origin=origin, folder=path.parent, public=True)
            with mistakes.noted(field.name):
                settings[field.name] = _typed(field, given)
    return settings


def _parse(path: Path) -> dict[str, object]:
    try:
        _refuse_corpus(path)
        # Some editors put a byte order mark before the text.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        if has_magic(path.name):
            raise no_job_file(str(path), what="a pattern") from None
        raise ConfigurationError(
            f"job file {path} does not exist",
            remedy="Check the path, or pass the settings as flags: the corpus is --input.",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"job file {path} cannot be read: {error.strerror}",
            remedy="Check the path and its mode.",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"job file {path} is not UTF-8 at byte {error.start}", remedy="Save it as UTF-8."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"job file {path} is not TOML: {error}",
            remedy='Correct that line; text stands in quotes, lists as ["a", "b"].',
        ) from None


def _refuse_corpus(path: Path) -> None:
    """Refuse what is to be indexed in the place of what says how; OSError where there is none."""
    if path.is_dir():
        what = "a folder"
    else:
        with path.open("rb") as file:
            what = "a Parquet file" if file.read(len(_PARQUET)) == _PARQUET else ""
    if what:
        raise no_job_file(str(path), what=what)


def _typed(field: SettingField, sourced: Sourced) -> Sourced:
    """Check a TOML value against its field; one text may stand for a list with one entry."""
    value = sourced.value
    if field.many and isinstance(value, str):
        return replace(sourced, value=split(field, [value], separator=field.setting.separator))
    if field.name == "max_dead_letters" and _is_a(value, (int,)):
        return sourced
    wanted = _TYPES[field.kind]
    if field.many:
        if not isinstance(value, list) or not all(_is_a(entry, wanted) for entry in value):
            raise refuse(field, sourced, f"must be a list, each entry {_TYPE_NAMES[field.kind]}")
        return replace(sourced, value=tuple(value))
    if not _is_a(value, wanted):
        raise refuse(field, sourced, f"must be {_TYPE_NAMES[field.kind]}")
    return sourced


def _is_a(value: object, types: tuple[type, ...]) -> bool:
    """Tell types apart as TOML does, where true is not a number."""
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _unknown_section(path: Path, section: str) -> ConfigurationError:
    sections = list(dict.fromkeys(field.section for field in SETTINGS if field.in_job_file))
    homes = [
        field for field in SETTINGS if field.in_job_file and section in (field.key, field.name)
    ]
    if homes:
        return ConfigurationError(
            f"{path.name}: {section} stands outside of any section",
            remedy=f"Write {homes[0].key} under [{homes[0].section}].",
        )
    return ConfigurationError(
        f"{path.name}: there is no section [{section}]",
        remedy=_closest(section, sections) or f"The sections are {', '.join(sections)}.",
    )


def _unknown_key(path: Path, section: str, key: str) -> ConfigurationError:
    named = [field for field in SETTINGS if key in (field.key, field.name)]
    for field in named:
        if field.secret and field.section == section:
            return ConfigurationError(
                f"{path.name} [{section}] {key}: a secret must not stand in a job file",
                remedy=f"Take it out, draw a new one, and put it into .env as {field.env}=….",
            )
        if field.setting.flag_only:
            return ConfigurationError(
                f"{path.name} [{section}] {key}: is decided anew for every run",
                remedy=f"Take it out and pass {field.flag} when it is wanted.",
            )
    what = f"{path.name} [{section}] {key}: there is no such setting"
    homes = [field for field in named if field.in_job_file]
    if homes:
        return ConfigurationError(what, remedy=f"Write {homes[0].key} under [{homes[0].section}].")
    keys = [field.key for field in SETTINGS if field.section == section and field.in_job_file]
    return ConfigurationError(
        what, remedy=_closest(key, keys) or f"[{section}] takes {', '.join(keys)}."
    )


def _closest(word: str, words: list[str]) -> str:
    matches = get_close_matches(word, words, n=1)
    return f"Did you mean {matches[0]}?" if matches else ""
