"""One document of a corpus, found again by its id."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embed_index.pipeline.corpus.layout import Columns
from embed_index.pipeline.corpus.listing import list_corpus
from embed_index.pipeline.corpus.parquet import open_parquet
from embed_index.schemas.ids import text_hash

_ROWS_PER_BATCH = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusPlace:
    """Where a corpus is, and which of its columns hold id and text."""

    inputs: tuple[str, ...]
    id_column: str
    text_column: str


def find_text(place: CorpusPlace, *, doc_id: str, doc_hash: str, stood_at: str) -> str | None:
    """Return a document's text, None where the corpus does not have it as it was indexed.

    The row where it stood is read first; where it moved, the ids of all rows are.

    Args:
        place: The corpus.
        doc_id: The document.
        doc_hash: Content hash of the text that is looked for.
        stood_at: File, row group and row where it stood when it was indexed.

    Raises:
        ConfigurationError: The corpus is not there, or lacks a column.
    """
    listing = list_corpus(place.inputs)
    columns = Columns(id_column=place.id_column, text_column=place.text_column, carry=())
    name, _, position = stood_at.rpartition("#")
    row_group, _, _ = position.partition(":")
    likely = [
        file for file, known in zip(listing.files, listing.names, strict=True) if known == name
    ]
    for file in (*likely, *(file for file in listing.files if file not in likely)):
        with open_parquet(file) as parquet:
            columns.check_schema(file, parquet.schema_arrow)
            groups = list(range(parquet.num_row_groups))
            if file in likely and row_group.isdecimal() and int(row_group) in groups:
                groups.remove(int(row_group))
                groups.insert(0, int(row_group))
            for text in _texts(parquet, groups, columns=columns, doc_id=doc_id):
                if text_hash(text) == doc_hash:
                    return text
    return None


def _texts(
    parquet: pq.ParquetFile, groups: Sequence[int], *, columns: Columns, doc_id: str
) -> Iterator[str]:
    """Yield the texts of the rows that bear an id."""
    for group in groups:
        first = 0
        batches = parquet.iter_batches(
            batch_size=_ROWS_PER_BATCH, row_groups=[group], columns=[columns.id_column]
        )
        places: list[int] = []
        for batch in batches:
            places += (first + place for place in _places_of(batch.column(0), doc_id))
            first += batch.num_rows
        if places:
            texts = parquet.read_row_group(group, columns=[columns.text_column]).column(0)
            for place in places:
                value = texts[place].as_py()
                if isinstance(value, str):
                    yield value


def _places_of(ids: pa.Array, doc_id: str) -> list[int]:
    same = pc.equal(ids.cast(pa.large_string()), pa.scalar(doc_id, pa.large_string()))
    places: list[int] = pc.indices_nonzero(pc.fill_null(same, fill_value=False)).to_pylist()
    return places
