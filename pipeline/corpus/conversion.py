"""Arrow rows become a batch: the usable rows in columns, the others as dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from embed_index.pipeline.corpus.carried import CarriedRows
from embed_index.pipeline.corpus.casts import whole_numbers
from embed_index.pipeline.corpus.layout import FIRST_CARRIED, ID, TEXT
from embed_index.pipeline.corpus.row_checks import BadRowError, check_id, check_text, find_doubtful
from embed_index.pipeline.corpus.source import RowBatch, RowPlaces
from embed_index.pipeline.corpus.text_column import TextColumn
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.records import DeadLetter, SourceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RowConversion:
    """As what the columns of a corpus are read."""

    carried_columns: Sequence[CarriedColumn]
    ids_are_hashes: bool = False
    """Whether a document's id is the hash of its text, in the place of what its column holds."""
    has_condition: bool = False
    """Whether the last column says which rows are wanted."""
    prefix_places: Sequence[int] = ()
    """As of a `RowBatch`."""

    def convert(self, batch: pa.RecordBatch, places: RowPlaces) -> RowBatch:
        """Check the rows of a batch, which stand at `places`, and hash the usable texts.

        Args:
            batch: Ids, texts and carried columns, as `FileColumns.select` gives them.
            places: Where the rows stand.
        """
        texts = TextColumn(batch.column(TEXT))
        ids, no_ids = self._ids(batch.column(ID), texts)
        carried_end = FIRST_CARRIED + len(self.carried_columns)
        carried = CarriedRows(
            self.carried_columns,
            batch.columns[FIRST_CARRIED:carried_end],
            num_rows=batch.num_rows,
        )
        left_out: list[int] = []
        if self.has_condition:
            wanted = batch.column(carried_end).to_numpy(zero_copy_only=False)
            left_out = np.flatnonzero(~wanted).tolist()
        errors = carried.errors()
        doubtful = find_doubtful(ids, texts)
        doubtful[[*errors, *no_ids]] = True
        doubtful[left_out] = False
        refused: dict[int, DeadLetter] = {}
        for row in np.flatnonzero(doubtful).tolist():
            letter = _refuse(
                places.source(row),
                doc_id=no_ids.get(row, ids[row]),
                text=texts[row],
                error=errors.get(row),
            )
            if letter is not None:
                refused[row] = letter
        ids_left_out = [known for row in left_out if isinstance(known := ids[row], str)]
        if refused or left_out:
            unusable = {*refused, *left_out}
            usable = [row for row in range(len(ids)) if row not in unusable]
            places, carried = places.take(usable), carried.take(usable)
            ids, texts = ids.take(usable), texts.take(usable)
        return RowBatch(
            places=places,
            ids=ids,
            texts=texts,
            carried_rows=carried,
            text_hashes=texts.hashes(),
            dead_letters=tuple(refused.values()),
            ids_left_out=ids_left_out,
            num_left_out=len(left_out),
            prefix_places=self.prefix_places,
        )

    def without_rows(self, letters: Sequence[DeadLetter]) -> RowBatch:
        """Return dead letters as a batch of their own."""
        columns = [pa.nulls(0)] * (FIRST_CARRIED + len(self.carried_columns))
        columns += [pa.array([], pa.bool_())] * self.has_condition
        names = [str(place) for place in range(len(columns))]
        nothing = pa.RecordBatch.from_arrays(columns, names=names)
        return replace(self.convert(nothing, RowPlaces.of_spans([])), dead_letters=tuple(letters))

    def _ids(
        self, column: pa.Array, texts: TextColumn
    ) -> tuple[TextColumn, dict[int, BadRowError]]:
        if self.ids_are_hashes:
            hashes = [row.tobytes().hex() for row in texts.hashes()]
            return TextColumn(pa.array(hashes, pa.string())), {}
        return as_ids(column)


def as_ids(column: pa.Array) -> tuple[TextColumn, dict[int, BadRowError]]:
    """Return a column's ids, and why some rows have none, by row."""
    if not pa.types.is_floating(column.type):
        return TextColumn(column), {}
    numbers, is_none = whole_numbers(column)
    bad = BadRowError("invalid_id", "The document id is a float, and no whole number below 2**53.")
    return TextColumn(numbers), dict.fromkeys(np.flatnonzero(is_none).tolist(), bad)


def _refuse(
    source: SourceRow,
    *,
    doc_id: str | bytes | BadRowError | None,
    text: str | bytes | None,
    error: BadRowError | None,
) -> DeadLetter | None:
    known_id: str | None = None
    try:
        if isinstance(doc_id, BadRowError):
            raise doc_id
        known_id = check_id(doc_id)
        check_text(text)
        if error is not None:
            raise error
    except BadRowError as bad:
        return DeadLetter(
            source=source, stage="read", reason=bad.reason, detail=bad.detail, doc_id=known_id
        )
    return None
