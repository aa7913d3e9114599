"""Arrow rows become a batch: the usable rows in columns, the others as dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embed_index.pipeline.corpus.row_checks import (
    OUT_OF_RANGE,
    BadRowError,
    check_carried,
    check_id,
    check_text,
    find_doubtful,
)
from embed_index.pipeline.corpus.source import RowBatch
from embed_index.pipeline.corpus.text_column import TextColumn
from embed_index.schemas.columns import MAX_CARRIED_TEXT_BYTES, CarriedColumn
from embed_index.schemas.records import CarriedValue, DeadLetter, SourceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RowConversion:
    """Which columns of a corpus are read, and as what."""

    id_column: str
    text_column: str
    carried_columns: Sequence[CarriedColumn]

    def convert(
        self, batch: pa.RecordBatch, *, path: str, row_group: int, first_row: int
    ) -> RowBatch:
        """Check the rows of a batch, and hash the texts of the usable ones.

        Args:
            batch: Consecutive rows of one row group.
            path: The file's name in the corpus.
            row_group: Which of the file.
            first_row: The first row's number within the row group.
        """
        ids = TextColumn(batch.column(self.id_column))
        texts = TextColumn(batch.column(self.text_column))
        carried, errors = self._carried_rows(batch)
        doubtful = find_doubtful(ids, texts)
        doubtful[list(errors)] = True
        refused: dict[int, DeadLetter] = {}
        for row in np.flatnonzero(doubtful).tolist():
            source = SourceRow(path=path, row_group=row_group, row=first_row + row)
            letter = _refuse(source, doc_id=ids[row], text=texts[row], error=errors.get(row))
            if letter is not None:
                refused[row] = letter
        rows: Sequence[int] = range(first_row, first_row + len(ids))
        if refused:
            usable = [row for row in range(len(ids)) if row not in refused]
            ids, texts = ids.take(usable), texts.take(usable)
            carried = [carried[row] for row in usable]
            rows = [rows[row] for row in usable]
        return RowBatch(
            path=path,
            row_group=row_group,
            rows=rows,
            doc_ids=ids.strings(),
            texts=texts,
            carried=carried,
            doc_hashes=texts.hashes(),
            dead_letters=tuple(refused.values()),
        )

    def _carried_rows(
        self, batch: pa.RecordBatch
    ) -> tuple[list[tuple[CarriedValue, ...]], dict[int, BadRowError]]:
        errors: dict[int, BadRowError] = {}
        columns = [self._carried_values(batch, column, errors) for column in self.carried_columns]
        if not columns:
            return [()] * batch.num_rows, errors
        return list(zip(*columns, strict=True)), errors

    def _carried_values(
        self, batch: pa.RecordBatch, column: CarriedColumn, errors: dict[int, BadRowError]
    ) -> Sequence[CarriedValue]:
        """Return a column's values; where one cannot be used, note the row's first error."""
        values = _clear_values(batch.column(column.name))
        if values is not None:
            return values
        checked: list[CarriedValue] = []
        for row, value in enumerate(to_python(batch.column(column.name))):
            try:
                checked.append(check_carried(column, value))
            except BadRowError as bad:
                errors.setdefault(row, bad)
                checked.append("")
        return checked


def _clear_values(values: pa.Array) -> list[CarriedValue] | None:
    """Return the values of a column that `check_carried` takes as they are, None for any other."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    empty: CarriedValue
    if pa.types.is_integer(kind):
        is_clear, empty = True, 0
    elif pa.types.is_boolean(kind):
        is_clear, empty = True, False
    elif pa.types.is_float32(kind) or pa.types.is_float64(kind):
        is_clear, empty = pc.all(pc.is_finite(values), min_count=0).as_py(), 0.0
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts, empty = TextColumn(values), ""
        is_clear = texts.is_utf8 and bool((texts.num_bytes <= MAX_CARRIED_TEXT_BYTES).all())
    else:
        return None
    if not is_clear:
        return None
    cleared: list[CarriedValue] = values.fill_null(empty).to_pylist()
    return cleared


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


def to_python(column: pa.Array) -> list[Any]:
    """Convert a column; what Python cannot hold comes back as `_value_or_flaw` says."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        # Python knows no nanoseconds, and what is stored is text with at most microseconds; an
        # instant in UTC needs no time zone to be known by this machine.
        unit = "us" if column.type.unit == "ns" else column.type.unit
        column = column.cast(pa.timestamp(unit, column.type.tz and "UTC"), safe=False)
    try:
        values: list[Any] = column.to_pylist()
    except (UnicodeDecodeError, OverflowError):
        values = [_value_or_flaw(scalar) for scalar in column]
    return values


def _value_or_flaw(scalar: pa.Scalar) -> Any:
    """Convert a value: a string that is not UTF-8 to its bytes, a date without a year to a flaw."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes()
    except OverflowError:
        return OUT_OF_RANGE
