"""The dead letters of one run as a Parquet file, and the rule for how many are too many."""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from embed_index.pipeline.corpus.source import RowBatch
from embed_index.pipeline.disk.errors import explain_disk
from embed_index.pipeline.ledger.letters import printable
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import ConfigurationError, EmbedIndexError
from embed_index.schemas.records import DeadLetter, SourceRow

_FIELDS: list[Any] = [
    pa.field("doc_id", pa.string()),
    pa.field("file", pa.string(), nullable=False),
    pa.field("row_group", pa.int64(), nullable=False),
    pa.field("row", pa.int64(), nullable=False),
    pa.field("stage", pa.string(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("detail", pa.string(), nullable=False),
    pa.field("attempts", pa.int64(), nullable=False),
    pa.field("chunk_index", pa.int64()),
]
_SCHEMA = pa.schema(_FIELDS)
_ROW_GROUP_ROWS = 4096
MAX_FILES = 30
"""Of a collection, the newest; each night with a dead letter leaves one."""
_PARTIAL = ".partial"


class DeadLetterFile:
    """Writes `FOLDER/RUN.parquet`, which exists only complete, and only if there was a letter.

    The newest `MAX_FILES` of the folder stay.

    Leaving the `with` block publishes the file, after an exception too: what could not be indexed
    is known either way. After a crash the letters are in the ledger alone, and opening the next
    run's file removes the unfinished one. One thread writes.

    Raises:
        UnavailableError: The disk is full or fails.
        ConfigurationError: The folder cannot be created or written.
    """

    def __init__(self, folder: Path, *, run: str) -> None:
        self.path = folder / f"{run}.parquet"
        self._partial = folder / f"{run}.parquet{_PARTIAL}"
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None
        with self._readable_errors():
            for stale in folder.glob(f"*.parquet{_PARTIAL}"):
                stale.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.publish()
        except EmbedIndexError as second:
            if exc is None:
                raise
            # What ended the run is what people must read first.
            exc.add_note(second.message)

    def write(self, letters: Iterable[DeadLetter]) -> None:
        """Add letters; at most one row group is held in memory."""
        for letter in letters:
            self._rows.append(_row(letter))
            if len(self._rows) == _ROW_GROUP_ROWS:
                self._flush()

    def publish(self) -> Path | None:
        """Finish the file durably under its name; None if there is no letter."""
        if self._rows:
            self._flush()
        if self._writer is None:
            return None
        with self._readable_errors():
            self._writer.close()
            self._writer = None
            _sync(self._partial)
            self._partial.rename(self.path)
            # Their names sort by time. What is still open is in the ledger.
            for old in sorted(self.path.parent.glob("*.parquet"))[:-MAX_FILES]:
                old.unlink()
            _sync(self.path.parent)
        return self.path

    def _flush(self) -> None:
        with self._readable_errors():
            if self._writer is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._writer = pq.ParquetWriter(self._partial, _SCHEMA, compression="zstd")
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=_SCHEMA))
        self._rows = []

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise explain_disk(
                error,
                subject=f"{self.path}: the dead letters cannot be written",
                remedy="Check owner and permissions of the state folder (--state-dir).",
            ) from error


def read_dead_letters(path: Path) -> Iterator[DeadLetter]:
    """Yield the letters of a published file, in the order in which they were written.

    Raises:
        ConfigurationError: The file does not exist or is no file of dead letters.
    """
    try:
        with pq.ParquetFile(path) as parquet:
            if not parquet.schema_arrow.equals(_SCHEMA):
                raise ConfigurationError(f"{path}: not a file of dead letters.")
            for batch in parquet.iter_batches(_ROW_GROUP_ROWS):
                yield from map(_letter, batch.to_pylist())
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigurationError(
            f"{path}: the dead letters cannot be read ({type(error).__name__}).",
            remedy="Name a file from the dead-letters folder of the state folder.",
        ) from error


def duplicate_letter(rows: RowBatch, place: int) -> DeadLetter:
    """Return the letter of a good row whose id another one bears."""
    return DeadLetter(
        source=rows.source(place),
        stage="read",
        reason="duplicate_id",
        detail="Another row of the corpus has the same document id; that one was indexed.",
        doc_id=rows.doc_ids[place],
    )


def allowed_dead_letters(limit: str, *, num_rows: int) -> int:
    """Return how many dead letters a run may have and still be done.

    Args:
        limit: A count such as `10`, or a share such as `1%`, as the settings accept it.
        num_rows: Rows of the corpus that the run read, good and bad.
    """
    if limit.endswith("%"):
        return math.floor(Fraction(limit.removesuffix("%")) / 100 * num_rows)
    return int(limit)


def excess_of_letters(num_letters: int, *, num_rows: int, limit: str) -> str:
    """Say what is wrong with a run that has more dead letters than allowed; empty for nothing.

    Arguments as of `allowed_dead_letters`.
    """
    allowed = allowed_dead_letters(limit, num_rows=num_rows)
    if num_letters <= allowed:
        return ""
    return (
        f"{counted(num_letters, 'dead letter')} of {counted(num_rows, 'row')}, more than the"
        f" {allowed:,} allowed;"
        " everything else is in the collection"
    )


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "doc_id": None if letter.doc_id is None else printable(letter.doc_id),
        "file": printable(letter.source.path),
        "row_group": letter.source.row_group,
        "row": letter.source.row,
        "stage": letter.stage,
        "reason": letter.reason,
        "detail": printable(letter.detail),
        "attempts": letter.attempts,
        "chunk_index": letter.chunk_index,
    }


def _letter(row: dict[str, Any]) -> DeadLetter:
    place = {name: row.pop(name) for name in ("row_group", "row")}
    return DeadLetter(source=SourceRow(path=row.pop("file"), **place), **row)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
