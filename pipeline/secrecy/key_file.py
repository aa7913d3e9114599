"""Reads a secret from a file that is meant to hold nothing else."""

import shlex
import stat
from pathlib import Path

from pydantic import SecretStr

from embed_index.schemas.errors import ConfigurationError


def read_key_file(path: Path) -> SecretStr:
    """Return the only line of a file that nobody but its owner may read.

    Raises:
        ConfigurationError: There is no such file, others may read it, or it is not one line.
    """
    refuse_open_to_others(path)
    return _only_line(path)


def refuse_open_to_others(path: Path) -> None:
    """Refuse a file with a key in it that others may read or write.

    Raises:
        ConfigurationError: They may, there is no such file, or it is a folder or a device.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unreadable(path, error) from None
    # A shell's <(command) is a pipe.
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise no_file(path)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            f"key file {path} is open to others (mode {stat.S_IMODE(mode):04o})",
            remedy=f"Run: chmod 600 {shlex.quote(str(path))}. If others have read it, draw a new "
            "key.",
        )


def no_file(path: Path) -> ConfigurationError:
    """Return the error for a folder or a device where a key's file should be."""
    return ConfigurationError(
        f"{path} is no regular file", remedy="Name the key's file itself, not its folder."
    )


def read_credential(directory: Path, name: str) -> SecretStr | None:
    """Return a credential that systemd handed in, or None; systemd sees to its mode."""
    path = directory / name
    return _only_line(path) if path.exists() else None


def _only_line(path: Path) -> SecretStr:
    try:
        # Some editors put a byte order mark before the text.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    if len(lines) != 1 or not lines[0].strip():
        raise ConfigurationError(
            f"key file {path} must hold exactly one line, the key",
            remedy="Write the key, and nothing else, into it.",
        )
    return SecretStr(lines[0].strip())


def _unreadable(path: Path, error: Exception) -> ConfigurationError:
    reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
    return ConfigurationError(
        f"key file {path} cannot be read: {reason}", remedy="Check the path and its owner."
    )
