"""Stream documents from Parquet: row group by row group, only the columns that are needed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from embed_index.pipeline.corpus.bad_files import BadFiles
from embed_index.pipeline.corpus.batching import (
    Part,
    is_signed,
    join_small,
    joined,
)
from embed_index.pipeline.corpus.carried_layout import CarriedLayout
from embed_index.pipeline.corpus.conditions import Condition
from embed_index.pipeline.corpus.conversion import RowConversion
from embed_index.pipeline.corpus.files import CorpusFile, kept_in_place, state_of
from embed_index.pipeline.corpus.footers import Reading, Schemas
from embed_index.pipeline.corpus.layout import Columns, FileColumns, IdFrom
from embed_index.pipeline.corpus.listing import list_corpus
from embed_index.pipeline.corpus.looks import Look, runs
from embed_index.pipeline.corpus.opening import MEND_FILE, open_parquet, readable_errors
from embed_index.pipeline.corpus.row_groups import RowGroup
from embed_index.pipeline.corpus.source import FileMemory, RowBatch, RowPlaces
from embed_index.pipeline.storage.store import Storage
from embed_index.schemas.columns import EMPTY_VALUES, CarriedColumn
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import FileRecord


class ParquetSource:
    """The documents of one or more Parquet files."""

    def __init__(
        self,
        inputs: Sequence[str],
        *,
        id_column: str,
        text_columns: Sequence[str],
        carry: Sequence[str] = (),
        id_from: IdFrom = "column",
        where: str = "",
        prefix_columns: Sequence[str] = (),
        skip_bad_files: bool = False,
        known_files: Mapping[str, FileRecord] | None = None,
        storage: Storage | None = None,
    ) -> None:
        """Open every file's footer and check its columns, so that a bad corpus fails at once.

        Args:
            inputs: Files, folders (searched for `*.parquet` below them) and glob patterns.
            id_column: A column of strings, integers, or what is as unambiguous.
            text_columns: Columns of strings, or of lists of strings; joined by a blank line.
            carry: Metadata columns to store beside each chunk, such as `lang` or
                `created at as created_at`.
            id_from: Whether ids stand in the column, or are made.
            where: Condition that rows must meet; empty for none.
            prefix_columns: Those of the carried ones, as a collection calls them, that say what a
                document is about.
            skip_bad_files: Whether one that is not as it should be is left out, as a dead letter;
                `read` yields these letters last.
            known_files: What the footers of files said, by the names of these, when they were last
                read; one that seems to be as it was is opened only to be read.
            storage: Where addresses are looked at; None for stores in their usual places.

        Raises:
            ConfigurationError: No such file, not Parquet, or a column is missing or of a type
                that cannot be used.
            UnavailableError: A store stays away.
        """
        self._columns = Columns(
            id_column=id_column,
            text_columns=tuple(text_columns),
            carry=tuple(carry),
            id_from=id_from,
            condition=Condition(where) if where.strip() else None,
        )
        self._storage = storage or Storage()
        listing = list_corpus(inputs, storage=self._storage)
        self.files = listing.files
        self._names = listing.names
        self.num_rows = 0
        self._layout = CarriedLayout(self._columns)
        self._last_columns: tuple[pa.Schema | None, FileColumns | None] = (None, None)
        self._schemas = Schemas()
        self._bad_files = BadFiles(skip=skip_bad_files)
        said: dict[str, None] = {}
        for file, name in zip(self.files, self._names, strict=True):
            with self._bad_files.left_out(name):
                schema, num_rows = self._footer(file, (known_files or {}).get(name))
                said |= dict.fromkeys(self._columns_of(file, schema).said)
                self.num_rows += num_rows
        self._bad_files.check_any_left(len(self.files))
        num_good = len(self.files) - len(self._bad_files.letters())
        lacking = self._layout.check(schema, num_files=num_good)
        self.carried_columns = self._layout.settle()
        names = [column.name for column in self.carried_columns]
        self._prefix_places = tuple(names.index(name) for name in prefix_columns)
        self._num_nulls: Counter[int] = Counter()
        self._notices = [*listing.notices(), *said, *lacking]

    def read(self, memory: FileMemory | None = None, /) -> Iterator[RowBatch]:
        """Yield the rows of all files in order, except for those that memory holds.

        Raises:
            ConfigurationError: A file became unreadable or is damaged.
            UnavailableError: A file was taken away or changed while it was read, or its store
                stays away.
        """
        self._num_nulls.clear()
        conversion = RowConversion(
            carried_columns=self.carried_columns,
            ids_are_hashes=self._columns.id_from == "text",
            has_condition=self._columns.condition is not None,
            prefix_places=self._prefix_places,
        )
        num_left_out = 0
        for parts in join_small(self._parts(memory)):
            first = parts[0].first_row
            places = RowPlaces.of_spans([(part.first_row, part.batch.num_rows) for part in parts])
            with readable_errors(first.path, first.row_group, first.row):
                rows = conversion.convert(joined(parts), places)
            # A large text is held by its rows alone.
            parts.clear()
            num_left_out += rows.num_left_out
            self._num_nulls.update(rows.carried_rows.num_nulls())
            yield rows
        if letters := self._bad_files.letters():
            yield conversion.without_rows(letters)
        told = list(self._tell_nulls())
        if num_left_out:
            told.append(f"where: left out {counted(num_left_out, 'row')}; none is missing")
        self._notices.extend(text for text in told if text not in self._notices)

    def stop_waiting(self) -> None:
        """End all waiting for a store, from any thread; what waits raises an error."""
        self._storage.stop()

    def _parts(self, memory: FileMemory | None) -> Iterator[Part | None]:
        """Yield what is read, and None where all before it must have been compared."""
        reading = Reading(self._columns, self.carried_columns)
        files = zip(self.files, self._names, strict=True)
        for run in runs(files, memory=memory, reading=reading):
            yield from self._parts_of(run, memory)

    def _parts_of(self, run: Sequence[Look], memory: FileMemory | None) -> Iterator[Part | None]:
        if memory and run[0].is_known:
            yield None
            if memory.holds([look.hashed() for look in run]):
                for look in run:
                    look.check_unchanged()
                return
        if len(run) == 1:
            yield from self._read(run[0], memory)
        else:
            for look in run:
                yield from self._parts_of([look], memory)

    def _read(self, look: Look, memory: FileMemory | None) -> Iterator[Part]:
        footer = None
        with self._bad_files.left_out(look.name), open_parquet(look.file) as parquet:
            try:
                yield from self._row_groups(look.file, look.name, parquet)
            except ConfigurationError:
                # Half of one file and half of another look like damage.
                look.check_unchanged()
                raise
            footer = parquet.schema_arrow, parquet.metadata.num_rows
        look.check_unchanged()
        if memory and footer:
            memory.note(
                FileRecord(
                    name=look.name,
                    num_bytes=look.state.num_bytes,
                    modified_ns=look.state.modified_ns,
                    digest=look.digest,
                    num_rows=footer[1],
                    schema=self._schemas.write(footer[0]),
                )
            )

    def _row_groups(self, file: CorpusFile, name: str, parquet: pq.ParquetFile) -> Iterator[Part]:
        columns = self._columns_of(file, parquet.schema_arrow)
        by_column = not _is_signed(file, parquet)
        num_before = 0
        for row_group in range(parquet.num_row_groups):
            group = RowGroup(
                file=file,
                name=name,
                number=row_group,
                num_before=num_before,
                metadata=parquet.metadata.row_group(row_group),
                columns=columns,
                id_from=self._columns.id_from,
            )
            yield from group.read(parquet, by_column=by_column)
            num_before += group.metadata.num_rows
        if num_before != parquet.metadata.num_rows:
            raise ConfigurationError(
                f"input: {file} has {num_before:,} rows in its row groups, and should have"
                f" {parquet.metadata.num_rows:,}",
                remedy=MEND_FILE,
            )

    def adopt_types(self, known: Sequence[CarriedColumn]) -> None:
        """Give columns that are null in every row the types that a collection has for them."""
        self.carried_columns = self._layout.settle(known)

    def store_as(self, columns: Sequence[CarriedColumn]) -> None:
        """Read nulls as a collection takes them whose columns, of the same types, are given."""
        self.carried_columns = tuple(columns)

    def take_notices(self) -> list[str]:
        """Return what should be said of the corpus and was not yet."""
        notices, self._notices = self._notices, []
        return [*notices, *self._bad_files.take_untold()]

    def _footer(self, file: CorpusFile, known: FileRecord | None) -> tuple[pa.Schema, int]:
        if known:
            now = state_of(file)
            if (now.num_bytes, now.modified_ns) == (known.num_bytes, known.modified_ns):
                return self._schemas.read(known.schema), known.num_rows
        with open_parquet(file) as parquet:
            return parquet.schema_arrow, parquet.metadata.num_rows

    def _columns_of(self, file: CorpusFile, schema: pa.Schema) -> FileColumns:
        last, columns = self._last_columns
        if columns is None or not (columns.stand_in_file and schema.equals(last)):
            columns = self._columns.of_file(file, schema)
        self._last_columns = (schema, columns)
        self._layout.add(file, columns)
        return columns

    def _tell_nulls(self) -> Iterator[str]:
        for place, column in enumerate(self.carried_columns):
            num_nulls = self._num_nulls[place]
            if num_nulls and not column.holds_null:
                yield (
                    f"carry: {column.name} is null in {counted(num_nulls, 'row')}, where the"
                    f" collection holds {EMPTY_VALUES[column.type]!r}"
                )


def _is_signed(file: CorpusFile, parquet: pq.ParquetFile) -> bool:
    with kept_in_place(file):
        return is_signed(file, parquet.metadata)
