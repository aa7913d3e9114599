"""Small files that only their owner may read, written whole or not at all."""

import os
import re
import secrets
from pathlib import Path

_PRIVATE_MODE = 0o600
_DRAFT = re.compile(r"[0-9a-f]{16}")


def create_private(path: Path, content: bytes) -> None:
    """Write a new file durably; nobody else can read it at any moment.

    Raises:
        FileExistsError: There is one, or a link in its place.
        OSError: It cannot be written; nothing is left of it.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_MODE)
    try:
        _write_durably(descriptor, content)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(descriptor)
    _sync_folder(path.parent)


def replace_private(path: Path, content: bytes) -> None:
    """Replace a file in one step and keep its owner; a reader sees the old content or the new.

    Raises:
        OSError: It cannot be written; the old one is untouched.
    """
    owner = path.stat()
    remove_drafts(path)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    create_private(draft, content)
    try:
        os.chown(draft, owner.st_uid, owner.st_gid)
        draft.replace(path)
    except BaseException:
        draft.unlink()
        raise
    _sync_folder(path.parent)


def shred(path: Path) -> None:
    """Overwrite a file's content and remove it.

    A file system that writes elsewhere (copy on write, flash, snapshots) may keep the old blocks.
    """
    remove_drafts(path)
    _shred_one(path)


def remove_drafts(path: Path) -> None:
    """Overwrite and remove what a process that was killed while it replaced a file left of it."""
    for draft in path.parent.iterdir():
        beginning, _, rest = draft.name.rpartition(".")
        if beginning == f".{path.name}" and _DRAFT.fullmatch(rest):
            _shred_one(draft)


def _shred_one(path: Path) -> None:
    with path.open("r+b") as file:
        overwrite(file.fileno())
    path.unlink()
    _sync_folder(path.parent)


def overwrite(descriptor: int) -> None:
    """Replace what a file holds by random bytes, durably."""
    os.pwrite(descriptor, secrets.token_bytes(os.fstat(descriptor).st_size), 0)
    os.fsync(descriptor)


def _write_durably(descriptor: int, content: bytes) -> None:
    # An umask may have taken more than others' rights.
    os.fchmod(descriptor, _PRIVATE_MODE)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
