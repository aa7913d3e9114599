"""Where a key lives: in a file of its own, or as an entry of a `.env` file among others."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from dotenv.parser import Binding, parse_stream
from pydantic import SecretStr

from embed_index.pipeline.secrecy.checks import refuse_unsafe_place
from embed_index.pipeline.secrecy.files import create_private, overwrite, replace_private, shred
from embed_index.pipeline.secrecy.key_file import no_file, read_key_file, refuse_open_to_others
from embed_index.schemas.errors import ConfigurationError

KEY_VARIABLE = "EMBEDDING_API_KEY"


class KeyPlace(Protocol):
    """One place for one key.

    Every method raises ConfigurationError where others may read the file, or it cannot be used.
    """

    path: Path

    def read(self) -> SecretStr:
        """Return the key; refuse a place that has none."""

    def add(self, key: SecretStr) -> None:
        """Write a first key; refuse a place that has one, or is unsafe."""

    def replace(self, key: SecretStr) -> None:
        """Put another key in place of the one that is there, in one step."""

    def destroy(self) -> None:
        """Overwrite the key and remove it."""


def choose_place(*, key_file: Path | None, env_file: Path | None) -> KeyPlace:
    """Return the one place that was named.

    Raises:
        ConfigurationError: None was named, or two.
    """
    if key_file is not None and env_file is None:
        return KeyFile(key_file)
    if env_file is not None and key_file is None:
        return EnvEntry(env_file)
    raise ConfigurationError(
        "the key's place must be named once",
        remedy="Give either --key-file FILE or --env-file .env.",
    )


class KeyFile:
    """A file that holds a key and nothing else."""

    def __init__(self, path: Path) -> None:
        self.path = _resolved(path)

    def read(self) -> SecretStr:
        """Return the only line of the file."""
        return read_key_file(self.path)

    def add(self, key: SecretStr) -> None:
        """Create the file with mode 0600, or fill the empty one."""
        refuse_unsafe_place(self.path)
        with _said(self.path):
            try:
                create_private(self.path, _line(key))
            except FileExistsError:
                self._fill(key)

    def _fill(self, key: SecretStr) -> None:
        if not self.path.is_file():
            raise no_file(self.path) from None
        if self.path.read_bytes().strip():
            raise _has_key(self.path) from None
        replace_private(self.path, _line(key))

    def replace(self, key: SecretStr) -> None:
        """Put a new file in the old one's place."""
        refuse_unsafe_place(self.path)
        with _said(self.path):
            replace_private(self.path, _line(key))

    def destroy(self) -> None:
        """Overwrite and remove the file."""
        with _said(self.path):
            shred(self.path)


class EnvEntry:
    """The entry of a `.env` file; all other lines stay as they are."""

    def __init__(self, path: Path) -> None:
        self.path = _resolved(path)

    def read(self) -> SecretStr:
        """Return the value of the last such entry, as those who read the file do."""
        values = [line.value for line in self._lines() if line.key == KEY_VARIABLE]
        if not values or not values[-1]:
            raise ConfigurationError(
                f"{self.path} has no {KEY_VARIABLE}",
                remedy=f"Run: embed-index keys generate --env-file {self.path}",
            )
        return SecretStr(str(values[-1]))

    def add(self, key: SecretStr) -> None:
        """Append the entry, or fill the empty one; create the file with mode 0600."""
        refuse_unsafe_place(self.path)
        if not self.path.exists():
            with _said(self.path):
                create_private(self.path, _entry(key))
            return
        lines = self._lines()
        if any(line.key == KEY_VARIABLE and line.value for line in lines):
            raise _has_key(self.path)
        self._write(_with_entry(lines, _entry(key)))

    def replace(self, key: SecretStr) -> None:
        """Rewrite the entry where it stands."""
        refuse_unsafe_place(self.path)
        self._write(_with_entry(self._lines(), _entry(key)))

    def destroy(self) -> None:
        """Remove the entry, and overwrite the file that held it."""
        rest = _without_entry(self._lines())
        with _said(self.path), self.path.open("r+b") as old:
            replace_private(self.path, rest)
            overwrite(old.fileno())

    def _lines(self) -> list[Binding]:
        refuse_open_to_others(self.path)
        with _said(self.path):
            text = self.path.read_bytes().decode("utf-8")
        return list(parse_stream(io.StringIO(text, newline="")))

    def _write(self, content: bytes) -> None:
        with _said(self.path):
            replace_private(self.path, content)


def _resolved(path: Path) -> Path:
    """Follow links: one would be replaced instead of the file that it means."""
    # Path.resolve raises RuntimeError where links go round in circles.
    return Path(os.path.realpath(path))


def _line(key: SecretStr) -> bytes:
    return f"{key.get_secret_value()}\n".encode("ascii")


def _entry(key: SecretStr) -> bytes:
    return f"{KEY_VARIABLE}={key.get_secret_value()}\n".encode("ascii")


def _with_entry(lines: list[Binding], entry: bytes) -> bytes:
    """Return the file with the entry in its first place, or at the end."""
    places = [number for number, line in enumerate(lines) if line.key == KEY_VARIABLE]
    at = places[0] if places else len(lines)
    before = _without_entry(lines[: at + 1])
    if before and not before.endswith(b"\n"):
        before += b"\n"
    return before + entry + _without_entry(lines[at + 1 :])


def _without_entry(lines: list[Binding]) -> bytes:
    return "".join(map(_rest, lines)).encode()


def _rest(line: Binding) -> str:
    """Return what stays of a line without the key: all of it, or the blank lines before it."""
    text = line.original.string
    return text[: len(text) - len(text.lstrip())] if line.key == KEY_VARIABLE else text


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Say of a file what the system says."""
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            f"{path} cannot be used: {reason}", remedy="Check the path, its owner and the disk."
        ) from None


def _has_key(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} holds a key already",
        remedy="Change it with `embed-index keys rotate`, or remove it with `embed-index keys "
        "destroy` first.",
    )
