"""Puts a file where others read it, whole or not at all."""

import os
import secrets
from pathlib import Path

from embed_index.schemas.errors import ConfigurationError, UnavailableError

READABLE_BY_ALL = 0o644


def check_place(path: Path, *, setting: str) -> None:
    """Refuse, before any work is done, a place where no file can be put.

    Raises:
        ConfigurationError: Its folder does not exist or may not be written.
    """
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"{setting}: {path} cannot be written",
            remedy="Name a file in a folder that exists and that you may write to.",
        )


def put_in_place(path: Path, text: str, *, setting: str, mode: int | None = None) -> None:
    """Replace a file; whoever reads meanwhile sees the old one or the new one.

    Args:
        path: Where it goes.
        text: What it holds.
        setting: What an error names.
        mode: Its permissions; None for the usual ones of this user.

    Raises:
        UnavailableError: The file cannot be written now.
    """
    # What collects files by their ending must not find the unfinished one.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with unfinished.open("x", encoding="utf-8", errors="replace") as file:
                file.write(text)
                file.flush()
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UnavailableError(
            f"{setting}: {path} cannot be written ({error.strerror})",
            remedy="Check the disk and the folder's permissions; the run itself is recorded.",
        ) from error
