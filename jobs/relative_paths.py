"""What a relative path in a setting is relative to."""

import glob
import os
from pathlib import Path

from embed_index.schemas.setting import Location


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
