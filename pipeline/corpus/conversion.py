"""Arrow rows become a batch: the usable rows in columns, the others as dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from embed_index.pipeline.corpus.carried import CarriedRows
from embed_index.pipeline.corpus.row_checks import BadRowError, check_id, check_text, find_doubtful
from embed_index.pipeline.corpus.source import RowBatch, RowPlaces
from embed_index.pipeline.corpus.text_column import TextColumn
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.records import DeadLetter, SourceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RowConversion:
    """Which columns of a corpus are read, and as what."""

    id_column: str
    text_column: str
    carried_columns: Sequence[CarriedColumn]

    def convert(self, batch: pa.RecordBatch, places: RowPlaces) -> RowBatch:
        """Check the rows of a batch, which stand at `places`, and hash the usable texts."""
        ids = TextColumn(batch.column(self.id_column))
        texts = TextColumn(batch.column(self.text_column))
        carried = CarriedRows(
            self.carried_columns,
            [batch.column(column.name) for column in self.carried_columns],
            num_rows=batch.num_rows,
        )
        errors = carried.errors()
        doubtful = find_doubtful(ids, texts)
        doubtful[list(errors)] = True
        refused: dict[int, DeadLetter] = {}
        for row in np.flatnonzero(doubtful).tolist():
            letter = _refuse(
                places.source(row), doc_id=ids[row], text=texts[row], error=errors.get(row)
            )
            if letter is not None:
                refused[row] = letter
        if refused:
            usable = [row for row in range(len(ids)) if row not in refused]
            places, carried = places.take(usable), carried.take(usable)
            ids, texts = ids.take(usable), texts.take(usable)
        return RowBatch(
            places=places,
            ids=ids,
            texts=texts,
            carried_rows=carried,
            text_hashes=texts.hashes(),
            dead_letters=tuple(refused.values()),
        )


def _refuse(
    source: SourceRow,
    *,
    doc_id: str | bytes | None,
    text: str | bytes | None,
    error: BadRowError | None,
) -> DeadLetter | None:
    known_id: str | None = None
    try:
        known_id = check_id(doc_id)
        check_text(text)
        if error is not None:
            raise error
    except BadRowError as bad:
        return DeadLetter(
            source=source, stage="read", reason=bad.reason, detail=bad.detail, doc_id=known_id
        )
    return None
