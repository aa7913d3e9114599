"""Whether the folders of a job and the host's shared memory have room."""

import os
import shutil
from pathlib import Path

from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.host_check import HostCheck

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, not written to

_SCARCE_BYTES = 10 << 30
_TOO_LITTLE_BYTES = 1 << 30
_SHARED_BYTES = 1 << 30


def check_folder(folder: Path, *, subject: str, setting: str) -> HostCheck:
    """See whether a folder is there or can be made, can be written to, and has room.

    Args:
        folder: It need not exist.
        subject: What the record calls it.
        setting: The setting to change if it is the wrong one.

    Raises:
        ConfigurationError: Nothing can be written there.
    """
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir():
        raise ConfigurationError(
            f"{folder} cannot be made: {existing} is a file",
            remedy=f"Move that file, or choose another folder with {setting}.",
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"{folder} cannot be written to",
            remedy=f"Give yourself the right to write to {existing}, or set {setting}.",
        )
    free_bytes = shutil.disk_usage(existing).free
    found = f"{folder}, {_gib(free_bytes)} free"
    if free_bytes < _TOO_LITTLE_BYTES:
        raise ConfigurationError(
            f"{folder}: only {_gib(free_bytes)} are free on its disk",
            remedy=f"Make room, or choose another disk with {setting}.",
        )
    if free_bytes < _SCARCE_BYTES:
        return HostCheck(
            subject=subject,
            outcome="warning",
            found=found,
            remedy=f"Make room before the corpus grows, or choose another disk with {setting}.",
        )
    return HostCheck(subject=subject, outcome="ok", found=found)


def check_shared_memory(folder: Path = SHARED_MEMORY) -> HostCheck:
    """See whether the server's processes have room to share data in."""
    total_bytes = shutil.disk_usage(folder).total if folder.is_dir() else 0
    found = f"{_gib(total_bytes)} at {folder}"
    if total_bytes < _SHARED_BYTES:
        return HostCheck(
            subject="shared memory",
            outcome="warning",
            found=found,
            remedy="A container has 64 MB unless told otherwise: --shm-size=8g.",
        )
    return HostCheck(subject="shared memory", outcome="ok", found=found)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
