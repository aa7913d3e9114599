"""The ledger's SQLite file: opened durably, one transaction at a time, with readable errors."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embed_index.pipeline.disk.errors import explain_disk
from embed_index.pipeline.ledger_schema import REBUILD_REMEDY, migrate
from embed_index.schemas.errors import ConfigurationError, UnavailableError

_BUSY_SECONDS = 30.0
_CACHE_KIB = 32 * 1024

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REFUSED = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY}
_TRANSIENT = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY}


class LedgerFile:
    """One connection, shared by the threads of one process and never by a forked child.

    Any thread may call any method; calls are serialised, and what `transaction` encloses is
    durable (WAL, full sync) once the block has been left without an exception.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_disk(
                error,
                subject=f"{path.parent}: the state folder cannot be created",
                remedy="Give --state-dir a folder that you may write to.",
            ) from error
        with self._readable_errors():
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._readable_errors():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        execute = self._connection.execute
        mode = execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise ConfigurationError(
                f"{self.path}: the file system does not support SQLite's write-ahead log.",
                remedy="Put the state folder (--state-dir) on a local disk.",
            )
        execute("PRAGMA synchronous = FULL")
        execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        execute("PRAGMA foreign_keys = ON")
        migrate(self._connection, name=str(self.path))

    def close(self) -> None:
        """Close the connection; closing twice does nothing."""
        with self._lock:
            self._connection.close()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a SELECT, as tuples."""
        with self._lock, self._readable_errors():
            return self._connection.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit the enclosed statements together and durably, or none of them.

        Raises:
            ConfigurationError: The file is damaged or may not be written.
            UnavailableError: The disk is full or fails, or another process keeps the file locked.
        """
        with self._lock, self._readable_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            # SQLite's own message quotes what it found in the file.
            raise self._damaged("not UTF-8") from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _DAMAGED:
                raise self._damaged(str(error)) from error
            if code in _REFUSED:
                raise ConfigurationError(
                    f"{self.path}: the ledger cannot be opened or written ({error}).",
                    remedy="Check owner and permissions of the state folder (--state-dir).",
                ) from error
            if code in _TRANSIENT:
                raise UnavailableError(
                    f"{self.path}: the ledger cannot be used at present ({error}).",
                    remedy="Check the disk's free space and health, then run again to resume.",
                ) from error
            raise

    def _damaged(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.path}: the ledger is damaged ({why}).", remedy=REBUILD_REMEDY
        )
