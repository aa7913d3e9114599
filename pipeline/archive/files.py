"""Parquet files as archives have them: bounded row groups, checksums, whole or not there."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from embed_index.pipeline.disk.errors import explain_disk
from embed_index.schemas.errors import ConfigurationError, shortened

ROW_GROUP_BYTES = 8 << 20
_ZSTD_LEVEL = 1
"""Vectors hardly get smaller, and texts get no smaller than it costs."""
_READ_BYTES = 1 << 20
_MAX_REASON_CHARS = 300


class _DigestedFile:
    """A file written from front to back, and digested on the way."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._digest = hashlib.sha256()
        self.closed = False

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self.closed = True

    def finish(self) -> str:
        """Put it on the disk; return its digest."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._digest.hexdigest()

    def abandon(self) -> None:
        self._file.close()


class ParquetOutput:
    """One Parquet file on its way; memory is bounded by a row group."""

    def __init__(self, path: Path, schema: pa.Schema, *, plain: tuple[str, ...] = ()) -> None:
        """Begin the file.

        Args:
            path: Where nothing is yet.
            schema: Of the batches, with the file's metadata.
            plain: Columns that a dictionary would only make larger, such as vectors and texts.

        Raises:
            ConfigurationError: It may not be written there.
            UnavailableError: The disk is full or fails.
        """
        self.path = path
        self.num_rows = 0
        self.num_bytes = 0
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._schema = schema
        with _explained(path):
            self._file = _DigestedFile(path)
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._file, mode="w"),
                schema,
                compression="zstd",
                compression_level=_ZSTD_LEVEL,
                use_dictionary=[name for name in schema.names if name not in plain],
                write_statistics=[name for name in schema.names if name not in plain],
                write_page_checksum=True,
            )

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; raises as the constructor."""
        self._waiting.append(batch)
        self._waiting_bytes += batch.nbytes
        self.num_rows += batch.num_rows
        if self._waiting_bytes >= ROW_GROUP_BYTES:
            self._write_waiting()

    def finish(self) -> str:
        """Put all of it on the disk; return its SHA-256. Raises as the constructor."""
        self._write_waiting()
        with _explained(self.path):
            self._writer.close()
            self.num_bytes = self._file.tell()
            return self._file.finish()

    def abandon(self) -> None:
        """Close what will not be finished; the file stays."""
        self._file.abandon()

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting, self._schema)
        num_groups = max(1, round(self._waiting_bytes / ROW_GROUP_BYTES))
        self._waiting, self._waiting_bytes = [], 0
        with _explained(self.path):
            self._writer.write_table(table, row_group_size=-(-table.num_rows // num_groups))
            # What is written counts towards the file's size at once.
            self.num_bytes = self._file.tell()


class ParquetInput:
    """A Parquet file of ours, read row group by row group, every page verified."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            ConfigurationError: It is no readable Parquet file.
        """
        self.path = path
        with readable(path):
            self._file = pq.ParquetFile(
                path,
                page_checksum_verification=True,
                buffer_size=_READ_BYTES,
                pre_buffer=False,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def schema(self) -> pa.Schema:
        """Of its columns, with the file's metadata."""
        return self._file.schema_arrow

    @property
    def num_rows(self) -> int:
        """In all of it."""
        return int(self._file.metadata.num_rows)

    @property
    def num_row_groups(self) -> int:
        """In all of it."""
        return int(self._file.metadata.num_row_groups)

    def read(self, row_group: int, columns: list[str] | None = None) -> pa.Table:
        """Read a row group.

        Raises:
            ConfigurationError: Some of it is damaged.
        """
        with readable(self.path):
            return self._file.read_row_group(row_group, columns=columns, use_threads=False)

    def tables(self) -> Iterator[pa.Table]:
        """Read it all, a row group at a time; raises as `read`."""
        return (self.read(row_group) for row_group in range(self.num_row_groups))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        ConfigurationError: It is not there, or may not be read.
    """
    with readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Put the names of a folder's files on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say in which file Arrow or the disk met what cannot be read."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:
        words = shortened(" ".join(str(error).split()), max_chars=_MAX_REASON_CHARS)
        words = words or type(error).__name__
        raise ConfigurationError(
            f"{path} is damaged or cannot be read ({words})",
            remedy="Copy the archive again from where it was whole, or export again.",
        ) from error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise explain_disk(
            error,
            subject=f"{path}: cannot be written",
            remedy="Check owner and permissions of the folder, or name another one.",
        ) from error
