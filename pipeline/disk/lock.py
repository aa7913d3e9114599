"""One run per collection at a time: a lock that the operating system drops with its holder."""

import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from embed_index.pipeline.disk.errors import explain_disk
from embed_index.schemas.errors import LockHeldError
from embed_index.schemas.moments import in_words

_MAX_HOLDER_BYTES = 4096
_PATIENCE_SECONDS = 0.1
"""Whoever asks for the holder keeps the lock for a moment; that is not another run."""
_POLL_SECONDS = 0.02
_held: set["RunLock"] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockHolder:
    """Who holds a lock, for the message only: the lock itself is the kernel's."""

    pid: int
    host: str
    started_at: str
    """ISO 8601 in UTC."""

    def __str__(self) -> str:
        since = in_words(datetime.fromisoformat(self.started_at))
        return f"process {self.pid} on {self.host}, since {since}"


class RunLock:
    """Exclusive from entering to leaving, or to the death of this process, however it comes.

    What a dead holder left in the file blocks nobody. Child processes never hold the lock: an
    executed one does not inherit the descriptor, a forked one closes it.

    Raises:
        LockHeldError: Another run holds the lock; the message says who and since when.
        ConfigurationError: The file cannot be created or locked.
        UnavailableError: The disk is full or fails.
    """

    def __init__(
        self, path: Path, *, held_means: str = "Another run works on this collection"
    ) -> None:
        """Name the lock's file, and in words what it means that another process holds it."""
        self.path = path
        self._held_means = held_means
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        if self._descriptor is not None:
            raise RuntimeError(f"{self.path}: this lock object is already in use")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = self._acquire()
            _held.add(self)
            self._describe_holder()
        except OSError as error:
            self.release()
            raise explain_disk(
                error,
                subject=f"{self.path}: the run lock cannot be taken",
                remedy="Put the state folder (--state-dir) on a local disk that you may write to.",
            ) from error
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the lock back; releasing twice does nothing. The file stays."""
        _held.discard(self)
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                os.ftruncate(descriptor, 0)
            finally:
                # Explicitly, so that not even a copy of the descriptor keeps the lock.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)

    def _acquire(self) -> int:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            # Descriptors that Python opens are closed when a child executes a program.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = _read_holder(descriptor)
                os.close(descriptor)
                if time.monotonic() < deadline:
                    time.sleep(_POLL_SECONDS)
                    continue
                raise LockHeldError(
                    f"{self._held_means}: {holder or 'it started only just now'}.",
                    remedy=f"Wait for it to end; the lock is {self.path}.",
                ) from error
            except BaseException:
                os.close(descriptor)
                raise
            if _is_at(self.path, descriptor=descriptor):
                return descriptor
            # The file was removed between opening and locking; others lock the new one.
            os.close(descriptor)

    def _describe_holder(self) -> None:
        holder = LockHolder(
            pid=os.getpid(),
            host=socket.gethostname(),
            started_at=datetime.now(UTC).isoformat(),
        )
        if self._descriptor is not None:
            text = json.dumps(asdict(holder)).encode()
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))

    def close_in_child(self) -> None:
        """Drop the inherited descriptor after a fork; the parent keeps the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def find_holder(path: Path) -> LockHolder | None:
    """Return who holds the lock at this moment, None for nobody; creates nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_holder(descriptor)
    finally:
        os.close(descriptor)
    return None


def _is_at(path: Path, *, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read_holder(descriptor: int) -> LockHolder | None:
    try:
        holder = LockHolder(**json.loads(os.pread(descriptor, _MAX_HOLDER_BYTES, 0)))
        datetime.fromisoformat(holder.started_at)
    except (ValueError, TypeError):
        return None
    return holder


def _close_all_in_child() -> None:
    for lock in _held:
        lock.close_in_child()
    _held.clear()


os.register_at_fork(after_in_child=_close_all_in_child)
