"""One file in a store: what it was when it was opened, and reading it."""

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from embed_index.pipeline.storage.ranges import RangeReader
from embed_index.pipeline.storage.requests import Requests
from embed_index.schemas.errors import UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """What tells a file from one that replaced it."""

    num_bytes: int
    modified_ns: int
    """Since the epoch; 0 where the store does not say. Stores tell whole seconds."""
    etag: str = ""
    """Another for other content; empty where the place has none."""


Opened = tuple[pa.NativeFile, FileState]


class StoredFile:
    """A file in a store, named by its address."""

    def __init__(
        self,
        uri: str,
        *,
        folders: Sequence[str],
        requests: Requests,
        open_file: Callable[[], Opened],
    ) -> None:
        """Name a file; nothing is asked of the store.

        Args:
            uri: Its address.
            folders: Names of the folders that it is in, from the top.
            requests: Makes requests, and repeats them.
            open_file: Opens it and says what it is, in one attempt.
        """
        self.folders = tuple(folders)
        self._uri = uri
        self._requests = requests
        self._open_file = open_file
        self._lock = threading.Lock()
        self._num_open = 0
        self._reader: RangeReader | None = None

    def __str__(self) -> str:
        return self._uri

    def __repr__(self) -> str:
        return f"StoredFile({self._uri!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredFile) and other._uri == self._uri

    def __hash__(self) -> int:
        return hash(self._uri)

    def state(self) -> FileState:
        """Ask the store what the file is now.

        Raises:
            UnavailableError: It is there no more, or the store stays away.
        """
        opened, state = self._open()
        opened.close()
        return state

    def open(self) -> "OpenFile":
        """Open the file; what is open at the same time shares what was fetched.

        Raises:
            ConfigurationError: It may not be read.
            UnavailableError: It is there no more, or the store stays away.
        """
        with self._lock:
            if self._reader is None:
                opened, state = self._open()
                self._reader = RangeReader(
                    opened,
                    uri=self._uri,
                    num_bytes=state.num_bytes,
                    requests=self._requests,
                    reopen=lambda: self._reopen(state),
                )
            self._num_open += 1
            return OpenFile(self._reader, uri=self._uri, on_close=self._closed)

    def _closed(self) -> None:
        with self._lock:
            self._num_open -= 1
            if not self._num_open:
                self._reader = None

    def _open(self) -> Opened:
        patience = self._requests.patience
        try:
            return self._requests.call(
                self._open_file, subject=self._uri, limit_seconds=patience.read_seconds
            )
        except FileNotFoundError as error:
            raise changed(self) from error

    def _reopen(self, before: FileState) -> pa.NativeFile:
        """Open the file in one attempt of several, to read on where reading failed."""
        try:
            opened, state = self._open_file()
        except FileNotFoundError as error:
            raise changed(self) from error
        if state != before:
            raise changed(self)
        return opened


class OpenFile(io.RawIOBase):
    """A file in a store, as pyarrow wants it: read from where one has sought to."""

    def __init__(self, reader: RangeReader, *, uri: str, on_close: Callable[[], None]) -> None:
        super().__init__()
        self._reader = reader
        self._uri = uri
        self._on_close = on_close
        self._position = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read from anywhere."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._reader.num_bytes}
        self._position = start[whence] + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes, fewer only at the end."""
        left = max(0, self._reader.num_bytes - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        try:
            found = self._reader.read(self._position, wanted)
        except FileNotFoundError as error:
            raise changed(self._uri) from error
        self._position += len(found)
        return found

    def close(self) -> None:
        """Let go of what was fetched, unless somebody else has the file open, too."""
        if not self.closed:
            self._on_close()
        super().close()


def changed(file: object) -> UnavailableError:
    """Return the error of a file that is not what it was when it was opened."""
    return UnavailableError(
        f"input: {file} was changed or taken away while the corpus was read",
        remedy="Run again once nobody writes there any more; no document was deleted as missing.",
    )
