"""One document of a corpus, found again by its id."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embed_index.pipeline.corpus.conversion import as_ids
from embed_index.pipeline.corpus.files import CorpusFile
from embed_index.pipeline.corpus.layout import Columns, FileColumn, FileColumns, IdFrom
from embed_index.pipeline.corpus.listing import list_corpus
from embed_index.pipeline.corpus.opening import open_parquet, readable_errors
from embed_index.pipeline.corpus.text_column import TextColumn
from embed_index.pipeline.storage.store import Storage
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.ids import text_hash

_IDS_PER_BATCH = 65_536
_TEXTS_PER_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusPlace:
    """Where a corpus is, and which of its columns hold id and text."""

    inputs: tuple[str, ...]
    id_column: str
    text_columns: tuple[str, ...]
    id_from: IdFrom = "column"
    storage: Storage | None = None
    """Where addresses are looked at; None for stores in their usual places."""


def find_text(place: CorpusPlace, *, doc_id: str, doc_hash: str, stood_at: str) -> str | None:
    """Return a document's text, None where the corpus does not have it as it was indexed.

    The row where it stood is read first; where it moved, the ids of all rows are. A file that
    cannot be read is no reason to stop before the others were.

    Args:
        place: The corpus.
        doc_id: The document.
        doc_hash: Content hash of the text that is looked for.
        stood_at: File, row group and row where it stood when it was indexed.

    Raises:
        ConfigurationError: The corpus is not there; or nothing is found, and a file lacks a column
            or cannot be read.
        UnavailableError: Its store stays away.
    """
    listing = list_corpus(place.inputs, storage=place.storage)
    columns = Columns(
        id_column=place.id_column,
        text_columns=place.text_columns,
        carry=(),
        id_from=place.id_from,
    )
    name, _, position = stood_at.rpartition("#")
    row_group, _, _ = position.partition(":")
    likely = [
        file for file, known in zip(listing.files, listing.names, strict=True) if known == name
    ]
    errors: list[ConfigurationError] = []
    for file in (*likely, *(file for file in listing.files if file not in likely)):
        first_group = int(row_group) if file in likely and row_group.isdecimal() else None
        try:
            for text in _texts(file, columns=columns, doc_id=doc_id, first_group=first_group):
                if text_hash(text) == doc_hash:
                    return text
        except ConfigurationError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return None


def _texts(
    file: CorpusFile, *, columns: Columns, doc_id: str, first_group: int | None
) -> Iterator[str]:
    """Yield the texts of the rows that bear an id; of all rows where ids stand in no column."""
    with open_parquet(file) as parquet:
        here = columns.of_file(file, parquet.schema_arrow)
        groups = sorted(range(parquet.num_row_groups), key=lambda group: group != first_group)
        for group in groups:
            with readable_errors(file, group, 0):
                yield from _texts_of(parquet, group, columns=here, doc_id=doc_id)


def _texts_of(
    parquet: pq.ParquetFile, group: int, *, columns: FileColumns, doc_id: str
) -> Iterator[str]:
    places: Sequence[int] = range(parquet.metadata.row_group(group).num_rows)
    if columns.id is not None:
        places = _places_of(parquet, group, column=columns.id, doc_id=doc_id)
    if not places:
        return
    first = 0
    for batch in _batches(parquet, group, columns.texts, rows=_TEXTS_PER_BATCH):
        texts = TextColumn(columns.text(batch))
        end = first + batch.num_rows
        for place in places[bisect_left(places, first) : bisect_left(places, end)]:
            value = texts[place - first]
            if isinstance(value, str):
                yield value
        first = end


def _places_of(
    parquet: pq.ParquetFile, group: int, *, column: FileColumn, doc_id: str
) -> Sequence[int]:
    places: list[int] = []
    first = 0
    for batch in _batches(parquet, group, [column], rows=_IDS_PER_BATCH):
        ids = as_ids(column.of(batch))[0].array.cast(pa.large_string())
        same = pc.equal(ids, pa.scalar(doc_id, pa.large_string()))
        found = pc.indices_nonzero(pc.fill_null(same, fill_value=False)).to_pylist()
        places += (first + place for place in found)
        first += batch.num_rows
    return places


def _batches(
    parquet: pq.ParquetFile, group: int, columns: Sequence[FileColumn], *, rows: int
) -> Iterator[pa.RecordBatch]:
    # A column that only a folder's name holds is as long as any other.
    names = [column.name for column in columns if column.path] or None
    batches: Iterator[pa.RecordBatch] = parquet.iter_batches(
        batch_size=rows, row_groups=[group], columns=names
    )
    return batches
