"""A value of a setting with where it came from, and what a relative path is relative to."""

import glob
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from embed_index.pipeline.secrecy.redaction import mask_userinfo
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.setting import Location, SettingField

_MAX_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """A value as it was given; secrets are wrapped before they get here, lists are tuples."""

    value: object
    origin: str
    """Such as `flag --dimension`, `.env MILVUS_URI` or `default`."""
    folder: Path
    """What a relative path in the value is relative to."""
    public: bool = False
    """Whether others may read the place: arguments and job files are none for a password."""
    file: Path | None = None
    """Where a secret is read from, so that it can be read again; None for a variable."""
    from_systemd: bool = False
    """Whether the file is a credential, which systemd renews only when it starts the service."""


def refuse(field: SettingField, sourced: Sourced, problem: str) -> ConfigurationError:
    """Build the error for a value that cannot be used; a secret's value does not appear in it."""
    hidden = field.secret or field.setting.private
    shown = field.name if hidden else f"{field.name} = {_shown(sourced.value)}"
    return ConfigurationError(
        f"{shown} ({sourced.origin}): {problem}", remedy=f"Set it with {field.ways}."
    )


def split(field: SettingField, texts: Iterable[str], *, separator: str | None) -> tuple[str, ...]:
    """Split texts into the entries of a list, at spaces as a shell does.

    Raises:
        ConfigurationError: A quotation is not closed.
    """
    if separator is None:
        return tuple(texts)
    if separator != " ":
        parts = [part.strip() for text in texts for part in text.split(separator)]
        return tuple(part for part in parts if part)
    try:
        return tuple(word for text in texts for word in shlex.split(text))
    except ValueError:
        raise ConfigurationError(
            f"{field.name}: a quotation mark is not closed", remedy=f"Set it with {field.ways}."
        ) from None


def _shown(value: object) -> str:
    text = mask_userinfo(repr(list(value) if isinstance(value, tuple) else value))
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def resolve(value: str, *, location: Location, folder: Path) -> str:
    """Return the absolute form of a value that somebody wrote in, or with respect to, a folder.

    URLs stay as they are, and so do model ids unless such a folder exists.
    """
    if not value:
        return value
    if "://" in value and location != "path":
        return value
    if location == "model" and not _is_local_model(value, folder):
        return value
    expanded = os.path.expanduser(value)  # noqa: PTH111 - Path would fold the slashes of a pattern
    if glob.has_magic(value) and location == "path_or_url":
        return os.path.join(glob.escape(str(folder)), expanded)  # noqa: PTH118 - as above
    return os.path.abspath(folder / expanded)  # noqa: PTH100 - resolve() would follow links


def _is_local_model(value: str, folder: Path) -> bool:
    # Path.is_dir would raise in a folder that we may not look into.
    return value.startswith((".", "/", "~")) or os.path.isdir(folder / value)  # noqa: PTH112
