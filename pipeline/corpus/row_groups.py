"""One row group of a Parquet file, read in parts that fit into memory, of the columns needed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embed_index.pipeline.corpus.batching import Part, cut_by_bytes, find_repeating, rows_per_batch
from embed_index.pipeline.corpus.files import CorpusFile
from embed_index.pipeline.corpus.layout import FileColumns, IdFrom
from embed_index.pipeline.corpus.opening import MEND_FILE, open_parquet, readable_errors
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import SourceRow

_ROWS_PER_CHECK = 65_536
_ONE_ROW = pa.record_batch({"": pa.nulls(1)})


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """One row group of a file, and how it is read."""

    file: CorpusFile
    name: str
    """How sources call the file."""
    number: int
    num_before: int
    """Rows that stand before it in the file."""
    metadata: pq.RowGroupMetaData
    columns: FileColumns
    id_from: IdFrom

    def read(self, parquet: pq.ParquetFile, *, by_column: bool) -> Iterator[Part]:
        """Yield its rows in order, in parts that are a few megabytes once they are decoded.

        Args:
            parquet: The file, opened.
            by_column: Whether columns may be asked for their sizes; not those of a signed file.

        Raises:
            ConfigurationError: It is damaged.
        """
        with readable_errors(self.file, self.number, 0):
            is_left_out = self.is_left_out(parquet) and self.id_from != "text"
        columns = self.columns.without_content() if is_left_out else self.columns
        yield from replace(self, columns=columns).parts(parquet, by_column=by_column)

    def is_left_out(self, parquet: pq.ParquetFile) -> bool:
        """Tell whether no row meets the condition; its columns alone are read for that."""
        if self.columns.condition is None:
            return False
        names = [column.name for column in self.columns.where if column is not None and column.path]
        if not names:
            return not self.columns.met(_ONE_ROW)[0].as_py()
        batches = parquet.iter_batches(
            batch_size=_ROWS_PER_CHECK, row_groups=[self.number], columns=names, use_threads=False
        )
        with readable_errors(self.file, self.number, 0):
            return not any(pc.any(self.columns.met(batch)).as_py() for batch in batches)

    def repeating(self) -> list[str]:
        """Return the columns that should be read as references to few values."""
        id_column = self.columns.id
        names = [x for x in self.columns.names() if id_column is None or x != id_column.name]
        return find_repeating(self.metadata, names)

    def parts(self, parquet: pq.ParquetFile, *, by_column: bool) -> Iterator[Part]:
        """Yield what `read` does, of just these columns."""
        with readable_errors(self.file, self.number, 0):
            repeating = self.repeating() if by_column else []
            batch_size = rows_per_batch(self.metadata, self.columns.names(), by_column=by_column)
        if repeating:
            with open_parquet(self.file, read_dictionary=repeating) as again:
                yield from self._read_batches(again, batch_size)
        else:
            yield from self._read_batches(parquet, batch_size)

    def _read_batches(self, parquet: pq.ParquetFile, batch_size: int) -> Iterator[Part]:
        batches = parquet.iter_batches(
            batch_size=batch_size,
            row_groups=[self.number],
            columns=self.columns.names(),
            use_threads=False,
        )
        row, num_rows = 0, self.metadata.num_rows
        parts = (part for batch in self._selected(batches) for part in cut_by_bytes(batch))
        while row < num_rows:
            with readable_errors(self.file, self.number, row):
                part = next(parts, None)
            if part is None:
                break
            given = [Part(part, SourceRow(path=self.name, row_group=self.number, row=row))]
            row += part.num_rows
            del part
            if row == num_rows:
                # Arrow keeps what it read last until it is asked for more.
                parts.close()
                batches.close()
            yield given.pop()
        if row != num_rows:
            # Some damage ends a column early without an error; its documents are not gone.
            raise ConfigurationError(
                f"input: {self.file} gives {row:,} rows of row group {self.number}, which should"
                f" have {num_rows:,}",
                remedy=MEND_FILE,
            )

    def _selected(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        row = self.num_before
        if len(self.columns.texts) > 1:  # They are decoded, whatever size they come to.
            batches = (part for batch in batches for part in cut_by_bytes(batch))
        for batch in batches:
            ids = None
            if self.id_from == "place":
                numbers = range(row, row + batch.num_rows)
                ids = pa.array([f"{self.name}#{number}" for number in numbers], pa.string())
            row += batch.num_rows
            yield self.columns.select(batch, made_ids=ids)
