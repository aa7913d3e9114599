"""Read a file at a distance: in large ranges, the next one fetched before it is asked for.

Arrow reads each column of a row group as a stream, a megabyte at a time, several columns in turn.
Where reads follow one another, what is fetched at once grows; where they do not, it is what was
asked for. So a large row group is few requests, and many small ones are one.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from embed_index.pipeline.storage.requests import Attempt, Requests

MAX_WINDOW_BYTES = 8 << 20
MAX_HELD_BYTES = 64 << 20
"""Of one file: what was fetched and may be asked for again, or soon."""
_MIN_WINDOW_BYTES = 64 << 10
_GAP_BYTES = 1 << 20
"""A read that begins so shortly behind another continues it: fetching what lies between takes less
time than a request."""


@dataclass(slots=True, kw_only=True)
class _Window:
    """A range that was fetched or is being fetched."""

    start: int
    num_bytes: int
    fetching: Attempt[bytes]
    content: bytes | None = None
    continues: bool
    """Whether what stood before it was read, too."""
    read_to: int = 0

    @property
    def end(self) -> int:
        return self.start + self.num_bytes


class RangeReader:
    """Reads one opened file; may be shared by threads."""

    def __init__(
        self,
        opened: pa.NativeFile,
        *,
        uri: str,
        num_bytes: int,
        requests: Requests,
        reopen: Callable[[], pa.NativeFile],
    ) -> None:
        """Read an opened file.

        Args:
            opened: The file.
            uri: What people call it.
            num_bytes: Its size.
            requests: Makes requests, and repeats them.
            reopen: Opens the file again after a failure, if it still is the same.
        """
        self.num_bytes = num_bytes
        self._opened = opened
        self._uri = uri
        self._requests = requests
        self._reopen = reopen
        self._windows: OrderedDict[int, _Window] = OrderedDict()
        """By where they start; those used last stand last."""
        self._lock = threading.Lock()

    def read(self, start: int, num_bytes: int) -> bytes:
        """Return a range that lies within the file, whole.

        Raises:
            FileNotFoundError: The file is there no more.
            ConfigurationError: It may not be read any more.
            UnavailableError: It was changed, or the store stays away.
        """
        with self._lock:
            pieces: list[memoryview] = []
            place, end = start, start + num_bytes
            while place < end:
                window = self._window_at(place, wanted=end - place)
                content = memoryview(self._content_of(window))
                piece = content[place - window.start : end - window.start]
                pieces.append(piece)
                place += len(piece)
                window.read_to = max(window.read_to, place)
            return b"".join(pieces)

    def _window_at(self, place: int, *, wanted: int) -> _Window:
        window = self._find(place)
        if window is None:
            before = next(
                (w for w in reversed(self._windows.values()) if 0 <= place - w.end <= _GAP_BYTES),
                None,
            )
            num_bytes = max(wanted, _MIN_WINDOW_BYTES)
            if before is not None:
                num_bytes = max(num_bytes, 2 * before.num_bytes)
            window = self._begin(place, num_bytes, continues=before is not None)
        self._windows.move_to_end(window.start)
        if window.continues and window.end < self.num_bytes and self._find(window.end) is None:
            self._begin(window.end, max(wanted, 2 * window.num_bytes), continues=True)
        return window

    def _find(self, place: int) -> _Window | None:
        return next((w for w in self._windows.values() if w.start <= place < w.end), None)

    def _begin(self, start: int, num_bytes: int, *, continues: bool) -> _Window:
        """Begin to fetch a range, no larger than may be and up to what is there already."""
        # Half is left to streams that are yet to come.
        num_unread = 1 + sum(window.read_to < window.end for window in self._windows.values())
        largest = max(_GAP_BYTES, min(MAX_WINDOW_BYTES, MAX_HELD_BYTES // (2 * num_unread)))
        next_start = min((s for s in self._windows if s > start), default=self.num_bytes)
        num_bytes = min(num_bytes, largest, next_start - start)
        window = _Window(
            start=start,
            num_bytes=num_bytes,
            fetching=Attempt(_reading(self._opened, start, num_bytes)),
            continues=continues,
        )
        self._make_room(num_bytes)
        self._windows[start] = window
        return window

    def _make_room(self, num_bytes: int) -> None:
        """Give up what was read to its end, and then what was not used for the longest time."""
        held = num_bytes + sum(window.num_bytes for window in self._windows.values())
        # Sorting keeps the order of use.
        for window in sorted(self._windows.values(), key=lambda w: w.read_to < w.end):
            if held <= MAX_HELD_BYTES:
                return
            held -= self._windows.pop(window.start).num_bytes

    def _content_of(self, window: _Window) -> bytes:
        if window.content is None:

            def again() -> bytes:
                self._opened = self._reopen()
                return _reading(self._opened, window.start, window.num_bytes)()

            window.content = self._requests.call(
                again,
                subject=self._uri,
                limit_seconds=self._requests.patience.read_seconds,
                begun=window.fetching,
            )
        return window.content


def _reading(opened: pa.NativeFile, start: int, num_bytes: int) -> Callable[[], bytes]:
    def read() -> bytes:
        content: bytes = opened.read_at(num_bytes, start)
        if len(content) != num_bytes:
            raise OSError(f"{len(content)} bytes came of {num_bytes} at {start}")
        return content

    return read
