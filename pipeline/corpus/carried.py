"""Carried columns left where Arrow has them, because most rows are only compared."""

import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embed_index.pipeline.corpus.casts import exact_floats, whole_numbers
from embed_index.pipeline.corpus.python_values import to_python
from embed_index.pipeline.corpus.row_checks import BadRowError, check_carried
from embed_index.pipeline.corpus.structured import json_texts
from embed_index.pipeline.corpus.text_column import TextColumn
from embed_index.schemas.columns import EMPTY_VALUES, CarriedColumn
from embed_index.schemas.ids import carried_hashes
from embed_index.schemas.records import CarriedValue, Words

_PER_DAY = {"s": 86_400, "ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}
_FIRST_DAY, _LAST_DAY = -719_161, 2_932_895
"""The years 1 to 9999, a day less on either side, counted from 1970."""
_TEXT_KIND = 0
_KINDS = {"integer": "a whole number", "number": "a float of 64 bits"}


class CarriedRows:
    """The carried values of some rows, whose columns are of equal length."""

    def __init__(
        self, columns: Sequence[CarriedColumn], arrays: Sequence[pa.Array], *, num_rows: int
    ) -> None:
        """Wrap one array for each column; `num_rows` says how many where there is none."""
        self._columns = columns
        self._num_rows = num_rows
        self._arrays: list[pa.Array] = []
        self._inexact: list[tuple[CarriedColumn, NDArray[np.bool_]]] = []
        for column, array in zip(columns, arrays, strict=True):
            values = _decoded(array)
            if isinstance(array.type, pa.JsonType):
                values = json_texts(array) if column.type == "json" else _decoded(array.storage)
            if column.type == "number" and pa.types.is_integer(values.type):
                values, is_inexact = exact_floats(values)
                self._inexact.append((column, is_inexact))
            elif column.type == "integer" and pa.types.is_floating(values.type):
                values, is_inexact = whole_numbers(values)
                self._inexact.append((column, is_inexact))
            self._arrays.append(values)

    def errors(self) -> dict[int, BadRowError]:
        """Return why rows cannot be used, by row: the first error of each."""
        errors: dict[int, BadRowError] = {}
        for column, is_inexact in self._inexact:
            for row in np.flatnonzero(is_inexact).tolist():
                detail = f"The value of {column.name!r} is not exactly {_KINDS[column.type]}."
                errors.setdefault(row, BadRowError("invalid_carried", detail))
        for column, array in zip(self._columns, self._arrays, strict=True):
            if _is_sound(array, max_bytes=column.max_bytes):
                continue
            for row, value in enumerate(to_python(array)):
                try:
                    check_carried(column, value)
                except BadRowError as bad:
                    errors.setdefault(row, bad)
        return errors

    def num_nulls(self) -> dict[int, int]:
        """Return how many rows are null, by the number of the column."""
        return {place: array.null_count for place, array in enumerate(self._arrays)}

    @property
    def num_bytes(self) -> int:
        """About so much memory all values take."""
        return sum(array.nbytes for array in self._arrays)

    @cached_property
    def rows(self) -> list[tuple[CarriedValue, ...]]:
        """Each row as the collection stores it; of rows without an error."""
        if not self._columns:
            return [()] * self._num_rows
        values = map(_values, self._columns, self._arrays)
        return list(zip(*values, strict=True))

    @cached_property
    def hashes(self) -> list[str]:
        """The hash of each row; of rows without an error."""
        return carried_hashes(self.rows)

    def words(self) -> Iterator[Words]:
        """Yield what each column holds; of rows without an error."""
        for array in self._arrays:
            if _is_text(array.type):
                words = TextColumn(array).words()
                yield np.column_stack((np.full(len(words), _TEXT_KIND, np.uint64), words))
            else:
                yield _number_words(array)

    def take(self, rows: Sequence[int]) -> "CarriedRows":
        """Return some of the rows, in the order given."""
        indices = pa.array(rows, pa.int64())
        taken = [array.take(indices) for array in self._arrays]
        return CarriedRows(self._columns, taken, num_rows=len(rows))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_plain(kind: pa.DataType) -> bool:
    """Tell whether Arrow gives the values as `check_carried` would return them."""
    return bool(
        _is_text(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_float32(kind)
        or pa.types.is_float64(kind)
    )


def _decoded(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return TextColumn(array).array if pa.types.is_string_view(array.type) else array


def _is_sound(array: pa.Array, *, max_bytes: int) -> bool:
    """Tell whether `check_carried` takes all values; if not, it may still."""
    kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return True
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return bool(pc.all(pc.is_finite(array), min_count=0).as_py())
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        per_day = _per_day(kind)
        ends = pc.min_max(_integers(array)).as_py()
        return ends["min"] is None or (
            _FIRST_DAY * per_day <= ends["min"] and ends["max"] <= _LAST_DAY * per_day
        )
    if _is_text(kind):
        texts = TextColumn(array)
        return texts.is_utf8 and bool((texts.num_bytes <= max_bytes).all())
    return False


def _values(column: CarriedColumn, array: pa.Array) -> list[CarriedValue]:
    if not _is_plain(array.type):
        return [check_carried(column, value) for value in to_python(array)]
    if array.null_count and not column.holds_null:
        array = array.fill_null(EMPTY_VALUES[column.type])
    values: list[CarriedValue] = array.to_pylist()
    return values


def _number_words(array: pa.Array) -> Words:
    kind = array.type
    is_null: NDArray[np.bool_] = array.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_null(kind):
        numbers = np.zeros(len(array), dtype=np.int64)
    elif pa.types.is_floating(kind):
        # Two numbers are one if their bits are; so 0.0 and -0.0 are not, as in their hash.
        floats = array.to_numpy(zero_copy_only=False).astype(np.float64)
        numbers = np.where(is_null, 0.0, floats).view(np.int64)
        kind = pa.float64()
    elif pa.types.is_boolean(kind):
        numbers = array.fill_null(False).to_numpy(zero_copy_only=False).astype(np.int64)
    else:
        integers = _integers(array)
        numbers = integers.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        # Numbers are the same in any width; what instants are is a matter of their type.
        kind = pa.int64() if pa.types.is_integer(kind) else kind
    tags = np.full(len(array), zlib.crc32(str(kind).encode()), dtype=np.uint64)
    halves = np.ascontiguousarray(numbers, dtype="<i8").view("<u4").reshape(-1, 2)
    return np.column_stack((tags, is_null, halves)).astype(np.uint64)


def _integers(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_integer(kind):
        return array
    return array.view(pa.int32() if pa.types.is_date32(kind) else pa.int64())


def _per_day(kind: pa.DataType) -> int:
    if pa.types.is_date32(kind):
        return 1
    return _PER_DAY["ms" if pa.types.is_date64(kind) else kind.unit]
