"""Who asked a server: time, name, status and tokens; never what was asked, and never a key."""

import contextlib
import itertools
import os
from datetime import UTC, datetime
from pathlib import Path

import orjson

_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
_MAX_BYTES = 1 << 20
_NUM_KEPT = 5
"""Older files beside the one that is written."""


class AccessLog:
    """JSON lines in a file of mode 0600, which is rotated by size."""

    def __init__(
        self, path: Path, *, max_bytes: int = _MAX_BYTES, num_kept: int = _NUM_KEPT
    ) -> None:
        """Name the file; the first entry creates it.

        Args:
            path: `access.log`; older ones are `access.log.1` and so on.
            max_bytes: How large a file becomes, but for its last line.
            num_kept: How many older ones stay.
        """
        self._path, self._max_bytes, self._num_kept = path, max_bytes, num_kept
        self._descriptor: int | None = None
        self._size = 0

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def write(self, *, name: str, status: int | None, tokens: int | None) -> None:
        """Add an entry; a full disk is no reason to refuse what was asked.

        Args:
            name: Whose key it was; `-` for none that is taken.
            status: Of the answer; None where none came.
            tokens: What the server counted, if it did.
        """
        entry = {"time": datetime.now(UTC), "name": name, "status": status, "tokens": tokens}
        with contextlib.suppress(OSError):
            self._append(orjson.dumps(entry, option=_LINE))

    def _append(self, line: bytes) -> None:
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        self._size += os.write(self._descriptor, line)
        if self._size >= self._max_bytes:
            os.close(self._descriptor)
            self._descriptor = None
            self._rotate()

    def _rotate(self) -> None:
        files = [self._path, *(Path(f"{self._path}.{n + 1}") for n in range(self._num_kept))]
        for newer, older in reversed(list(itertools.pairwise(files))):
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)
