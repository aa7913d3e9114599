"""The ledger's SQLite file: opened durably, one transaction at a time, with readable errors."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embed_index.pipeline.disk.errors import explain_disk
from embed_index.pipeline.ledger.layout import MIGRATIONS
from embed_index.schemas.errors import ConfigurationError, UnavailableError

LEDGER_COMPANIONS = ("-wal", "-shm")
"""Endings of the files that SQLite keeps beside an open one."""

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
    def snapshot(self) -> Iterator[None]:
        """Have all queries of the block see the file as it was; others may write meanwhile.

        Nothing may be written in the block.
        """
        with self._lock, self._readable_errors():
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            with self._lock, self._readable_errors():
                self._connection.execute("ROLLBACK")

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


REBUILD_REMEDY = (
    "Remove the file together with its -wal and -shm companions: "
    "the ledger is a cache and is rebuilt from Milvus."
)


def migrate(
    connection: sqlite3.Connection,
    *,
    name: str,
    migrations: tuple[tuple[str, ...], ...] = MIGRATIONS,
) -> None:
    """Bring the file to the newest layout, one transaction a step.

    Args:
        connection: Open in autocommit mode (`isolation_level=None`).
        name: The file's path, for messages.
        migrations: The steps this code knows.

    Raises:
        ConfigurationError: A newer embed-index wrote the file, or it is no ledger at all.
    """
    while (version := _file_version(connection)) < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have migrated between the look and the lock.
            if _file_version(connection) == version:
                if version == 0:
                    _refuse_foreign_tables(connection, name=name)
                for statement in migrations[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    if version > len(migrations):
        raise ConfigurationError(
            f"{name}: the ledger has layout {version}, and this embed-index knows up to "
            f"{len(migrations)}.",
            remedy=f"Upgrade embed-index. Or: {REBUILD_REMEDY}",
        )


def _file_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _refuse_foreign_tables(connection: sqlite3.Connection, *, name: str) -> None:
    query = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~' LIMIT 1"
    if foreign := connection.execute(query).fetchone():
        raise ConfigurationError(
            f"{name}: a SQLite file of another program (it has `{foreign[0]}`), not a ledger.",
            remedy="Choose another state folder, or move the file away.",
        )
