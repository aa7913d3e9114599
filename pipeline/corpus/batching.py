"""How many rows are read at once: as many as are few megabytes once they are decoded.

A file says how large its columns are as they are encoded, and that a repeated value stands in it
once. Columns that may be of that kind are read as such, and cut before they are decoded.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embed_index.pipeline.corpus.files import CorpusFile, open_bytes
from embed_index.schemas.errors import EmbedIndexError
from embed_index.schemas.records import SourceRow

TARGET_BATCH_BYTES = 8 << 20
MAX_BATCH_ROWS = 2048

_TAIL_BYTES = 8
"""At a file's end: the length of the footer, and `PAR1`."""
_SIGNATURE_BYTES = 28
"""A nonce of 12 bytes and a GCM tag of 16, behind the footer's metadata and counted with them."""
_MAX_REFERENCE_BYTES = 8
"""What a value takes that only refers to a dictionary; whole values of texts take more."""


def is_signed(file: CorpusFile, metadata: pq.FileMetaData) -> bool:
    """Tell whether a footer is signed, as it is in a file some of whose columns are encrypted.

    Asked about such a column, pyarrow's metadata end the process; reading it raises an error.
    """
    with open_bytes(file) as opened:
        opened.seek(-_TAIL_BYTES, os.SEEK_END)
        num_bytes = int.from_bytes(opened.read(4), "little")
    return bool(num_bytes - metadata.serialized_size == _SIGNATURE_BYTES)


def rows_per_batch(
    group: pq.RowGroupMetaData, columns: Collection[str], *, by_column: bool = True
) -> int:
    """Return how many rows are the target size, as they are encoded.

    Args:
        group: Where they stand.
        columns: What is read of them.
        by_column: Whether columns may be asked for their sizes; not those of a signed file.
    """
    num_bytes = group.total_byte_size
    if by_column:
        num_bytes = sum(chunk.total_uncompressed_size for chunk in _chunks(group, columns))
    row_bytes = max(1, num_bytes // max(1, group.num_rows))
    return int(min(MAX_BATCH_ROWS, max(1, TARGET_BATCH_BYTES // row_bytes)))


def find_repeating(group: pq.RowGroupMetaData, columns: Collection[str]) -> list[str]:
    """Return the columns of strings whose rows may be references to few values."""
    return [
        chunk.path_in_schema
        for chunk in _chunks(group, columns)
        if chunk.path_in_schema in columns
        and chunk.physical_type == "BYTE_ARRAY"
        and chunk.num_values > 1
        and chunk.has_dictionary_page
        and _data_bytes(chunk) <= _MAX_REFERENCE_BYTES * chunk.num_values
    ]


def cut_by_bytes(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield a batch in parts that are no larger than the target once they are decoded.

    A row that is larger comes alone.
    """
    if batch.nbytes <= TARGET_BATCH_BYTES and not _is_encoded(batch):
        if batch.num_rows:
            yield batch
        return
    ends = np.cumsum(sum(_decoded_bytes(column) for column in batch.columns))
    start, done = 0, 0
    while start < batch.num_rows:
        end = int(np.searchsorted(ends, done + TARGET_BATCH_BYTES, "right"))
        end = max(start + 1, end)
        yield batch.slice(start, end - start)
        start, done = end, int(ends[end - 1])


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive rows of one row group, as they were read."""

    batch: pa.RecordBatch
    first_row: SourceRow

    @property
    def can_join(self) -> bool:
        """Whether it can be put together with others without being decoded."""
        return not _is_encoded(self.batch)


def join_small(parts: Iterable[Part | None]) -> Iterator[list[Part]]:
    """Yield parts in groups that are no larger than one may be, so that files may be small.

    None among the parts ends a group.
    Nothing is held of a group whose list is cleared.
    """
    waiting: list[Part] = []
    num_rows, num_bytes = 0, 0
    try:
        for part in parts:
            if part is None:
                if waiting:
                    yield waiting
                    waiting, num_rows, num_bytes = [], 0, 0
                continue
            size = part.batch.nbytes
            is_full = num_rows + part.batch.num_rows > MAX_BATCH_ROWS
            if waiting and (
                is_full
                or num_bytes + size > TARGET_BATCH_BYTES
                or not part.can_join
                or not part.batch.schema.equals(waiting[0].batch.schema)
            ):
                yield waiting
                waiting, num_rows, num_bytes = [], 0, 0
            waiting.append(part)
            num_rows += part.batch.num_rows
            num_bytes += size
            del part
            # What is as large as a group may be need not wait for the next one.
            if num_rows >= MAX_BATCH_ROWS or num_bytes >= TARGET_BATCH_BYTES:
                yield waiting
                waiting, num_rows, num_bytes = [], 0, 0
    except EmbedIndexError:
        # What was read before a damaged place is good.
        if waiting:
            yield waiting
        raise
    if waiting:
        yield waiting


def joined(parts: Sequence[Part]) -> pa.RecordBatch:
    """Return the rows of a group of parts."""
    if len(parts) == 1:
        return parts[0].batch
    (batch,) = pa.Table.from_batches([part.batch for part in parts]).combine_chunks().to_batches()
    return batch


def _is_encoded(batch: pa.RecordBatch) -> bool:
    return any(map(pa.types.is_dictionary, batch.schema.types))


def _chunks(
    group: pq.RowGroupMetaData, columns: Collection[str]
) -> Iterator[pq.ColumnChunkMetaData]:
    chunks = map(group.column, range(group.num_columns))
    inside = tuple(f"{column}." for column in columns)
    return (
        chunk
        for chunk in chunks
        if chunk.path_in_schema in columns or chunk.path_in_schema.startswith(inside)
    )


def _data_bytes(chunk: pq.ColumnChunkMetaData) -> int:
    """Return the compressed size of a column without its dictionary."""
    dictionary = max(0, chunk.data_page_offset - (chunk.dictionary_page_offset or 0))
    return int(chunk.total_compressed_size - dictionary)


def _decoded_bytes(column: pa.Array) -> NDArray[np.int64]:
    """Return about how much each row of a column takes once it is decoded."""
    values = column.dictionary if pa.types.is_dictionary(column.type) else column
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        lengths = pc.binary_length(values).fill_null(0)
    else:
        lengths = pa.repeat(values.nbytes // max(1, len(values)), len(values))
    if values is not column:
        lengths = lengths.take(column.indices).fill_null(0)
    by_row: NDArray[np.int64] = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
    return by_row
