"""The log of one server's life: a file of its own, bounded, and some of those before it."""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from embed_index.schemas.errors import ConfigurationError

_NUM_KEPT = 20
"""Logs of servers that have ended."""
_MAX_BYTES = 8 * 1024 * 1024
_HEAD_BYTES = 256 * 1024
"""How a server was started stands at the beginning."""
_TAIL_BYTES = 4 * 1024 * 1024
_MAX_LINE_BYTES = 64 * 1024
_NAME = re.compile(r".+-\d{8}T\d{6}Z-\d+(-gpu\d+)?(\.\d+)?\.log|embedding-server(-\d+)?\.log(\.1)?")
"""Of the logs here, and of those that all servers shared once."""
_REPEATED = b"Prefill batch"
"""SGLang writes such a line for every pass: they would be most of the log."""
_REPEATED_SECONDS = 10.0


def name_log(command: str) -> str:
    """Return a name for the logs of a command that has no run of its own."""
    return f"{command}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}"


def next_log(folder: Path, owner: str, *, gpu: int | None = None) -> Path:
    """Return where the next life of an owner's server writes; nobody has written there yet."""
    stem = owner if gpu is None else f"{owner}-gpu{gpu}"
    lives = (f"{stem}.log" if life == 1 else f"{stem}.{life}.log" for life in count(1))
    return next(path for name in lives if not (path := folder / name).exists())


def open_log(folder: Path, owner: str, *, gpu: int | None = None) -> tuple[Path, int]:
    """Open a fresh log that only we can read, and remove the oldest of those before it.

    It is locked for as long as a process has it open.

    Raises:
        ConfigurationError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path, descriptor = _create(folder, owner, gpu=gpu)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        _remove_old(folder)
    except OSError as error:
        raise ConfigurationError(
            f"The server's log cannot be written to {folder}: {error}.",
            remedy="Choose another state folder.",
        ) from error
    return path, descriptor


def _create(folder: Path, owner: str, *, gpu: int | None) -> tuple[Path, int]:
    while True:
        path = next_log(folder, owner, gpu=gpu)
        # Another server of the same owner may have been quicker.
        with contextlib.suppress(FileExistsError):
            return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)


def _remove_old(folder: Path) -> None:
    ended = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and _has_ended(path)]
    for path in sorted(ended, key=_written_at)[:-_NUM_KEPT]:
        path.unlink(missing_ok=True)


def _has_ended(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


class BoundedLog:
    """Writes what a server says, its repetitions left out; keeps the beginning and the end."""

    def __init__(
        self,
        descriptor: int,
        *,
        max_bytes: int = _MAX_BYTES,
        head_bytes: int = _HEAD_BYTES,
        tail_bytes: int = _TAIL_BYTES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._now = now
        self._line = b""
        self._left_out = b""
        self._repeated_at = -_REPEATED_SECONDS

    def write(self, piece: bytes) -> None:
        """Take what was said; a line is written when it is whole."""
        *lines, self._line = (self._line + piece).split(b"\n")
        if len(self._line) > _MAX_LINE_BYTES:
            lines, self._line = [*lines, self._line], b""
        self._append(b"".join(line + b"\n" for line in lines if self._is_news(line)))

    def close(self, last: bytes) -> None:
        """Write what was held back, and last words."""
        rest = self._line + b"\n" if self._line else b""
        self._append(self._left_out + rest + last)

    def _is_news(self, line: bytes) -> bool:
        if _REPEATED not in line:
            return True
        if self._now() - self._repeated_at < _REPEATED_SECONDS:
            self._left_out = line + b"\n"
            return False
        self._repeated_at, self._left_out = self._now(), b""
        return True

    def _append(self, text: bytes) -> None:
        # A full disk must not end a night's run.
        with contextlib.suppress(OSError):
            if text:
                os.write(self._descriptor, text)
            if (size := os.fstat(self._descriptor).st_size) > self._max_bytes:
                self._shorten(size)

    def _shorten(self, size: int) -> None:
        head = os.pread(self._descriptor, self._head_bytes, 0)
        head = head[: head.rfind(b"\n") + 1]
        tail = os.pread(self._descriptor, self._tail_bytes, size - self._tail_bytes)
        tail = tail[tail.find(b"\n") + 1 :]
        num_left_out = size - len(head) - len(tail)
        os.ftruncate(self._descriptor, len(head))
        os.write(self._descriptor, b"... %d bytes left out ...\n" % num_left_out + tail)
