"""The ledger of one collection alias: versions with their documents, runs, dead letters, figures.

It is a cache of what Milvus holds. Losing it costs a rebuild, never a wrong collection.
"""

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from embed_index.pipeline.disk.errors import explain_disk
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.figures import FigureHistory
from embed_index.pipeline.ledger.file import LEDGER_COMPANIONS, LedgerFile
from embed_index.pipeline.ledger.files import FileLedger
from embed_index.pipeline.ledger.letters import OpenDeadLetters
from embed_index.pipeline.ledger.runs import RunHistory
from embed_index.schemas.errors import UnavailableError


class Ledger:
    """One SQLite file; opening it creates or migrates it.

    Methods may be called from any thread of the process that opened it. One process writes at a
    time (the run, by its lock); others may read meanwhile.

    Raises:
        ConfigurationError: The file is damaged, newer than this code, foreign or not writable.
        UnavailableError: The disk is full or fails.
    """

    def __init__(self, path: Path) -> None:
        self._file = LedgerFile(path)
        self.runs = RunHistory(self._file)
        self.dead_letters = OpenDeadLetters(self._file)
        self.figures = FigureHistory(self._file)
        self.files = FileLedger(self._file)

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def snapshot(self) -> AbstractContextManager[None]:
        """Have all reading in the block see one moment, whatever a run writes meanwhile."""
        return self._file.snapshot()

    def versions(self) -> dict[str, str]:
        """Return the collection id of each version by its name, oldest first."""
        return dict(self._file.query("SELECT name, collection_id FROM versions ORDER BY id"))

    def documents(self, version: str, *, collection_id: str) -> DocumentLedger:
        """Return the documents of a version, empty where the collection is new to the ledger.

        Args:
            version: Such as `docs_v1`.
            collection_id: From the live collection's contract. Where the ledger knows another, the
                collection was recreated, and what the ledger holds of the version is discarded.
        """
        if self.versions().get(version) != collection_id:
            self.drop_version(version)
            with self._file.transaction() as connection:
                connection.execute(
                    "INSERT INTO versions (name, collection_id, digest_seed)"
                    " VALUES (?, ?, randomblob(32))",
                    (version, collection_id),
                )
        found = self.find_documents(version)
        assert found is not None
        return found

    def knows(self, version: str, *, collection_id: str) -> bool:
        """Say whether the ledger has documents of this very collection."""
        return self.versions().get(version) == collection_id

    def find_documents(self, version: str) -> DocumentLedger | None:
        """Return the documents of a version as they are; None where the ledger does not know it."""
        rows = self._file.query("SELECT id FROM versions WHERE name = ?", (version,))
        if not rows:
            return None
        return DocumentLedger(self._file, version=version, version_id=rows[0][0])

    def mark_live(self, version: str) -> None:
        """Record that searches see a version, which a rebuild makes happen at its end only."""
        with self._file.transaction() as connection:
            connection.execute(
                "UPDATE versions SET first_live_at = coalesce(first_live_at, ?) WHERE name = ?",
                (datetime.now(UTC).isoformat(), version),
            )

    def once_live(self) -> set[str]:
        """Return the versions that searches saw at some time; the others were never finished."""
        rows = self._file.query("SELECT name FROM versions WHERE first_live_at IS NOT NULL")
        return {name for (name,) in rows}

    def rename_collection(self, version: str, *, collection_id: str) -> None:
        """Give a version's documents to another collection id, and keep them."""
        with self._file.transaction() as connection:
            connection.execute(
                "UPDATE versions SET collection_id = ? WHERE name = ?", (collection_id, version)
            )

    def drop_version(self, version: str) -> None:
        """Remove a version with its documents and dead letters; an unknown one is no error."""
        with self._file.transaction() as connection:
            # Documents and stretches go with their version by foreign key.
            connection.execute("DELETE FROM versions WHERE name = ?", (version,))
            connection.execute("DELETE FROM dead_letters WHERE version = ?", (version,))


def remove_ledger(path: Path) -> None:
    """Remove a ledger with what SQLite keeps beside it; one that is not there is no error.

    Raises:
        OSError: It may not be removed.
    """
    for companion in (*LEDGER_COMPANIONS, ""):
        path.with_name(path.name + companion).unlink(missing_ok=True)


def ledger_files(path: Path) -> list[Path]:
    """Return what a ledger may consist of, with what SQLite keeps beside it."""
    return [path.with_name(path.name + companion) for companion in ("", *LEDGER_COMPANIONS)]


def move_ledger(path: Path, *, to: Path) -> None:
    """Give a ledger another name in its folder; nobody else writes to it.

    Raises:
        ConfigurationError: It is damaged, newer than this code, or may not be written.
        UnavailableError: The disk is full or fails, or it is being read.
    """
    file = LedgerFile(path)
    try:
        # What stays in the log would be lost without it, or found by another file of the old name.
        ((is_busy, _, _),) = file.query("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        file.close()
    if is_busy:
        raise UnavailableError(
            f"{path}: the ledger is to get the name {to.name}, and another process reads it.",
            remedy="Run again once that one has ended.",
        )
    try:
        path.rename(to)
        for companion in LEDGER_COMPANIONS:
            path.with_name(path.name + companion).unlink(missing_ok=True)
    except OSError as error:
        raise explain_disk(
            error,
            subject=f"{path}: the ledger cannot be renamed to {to.name}",
            remedy="Check owner and permissions of the state folder (--state-dir).",
        ) from error
