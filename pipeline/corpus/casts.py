"""Arrow's types as what a job reads: what is unambiguous is converted, exactly, and named.

A cast returns strings, in one of Arrow's layouts, where it is said to make text; bytes become
strings without a look at them, for rows are checked one by one later on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embed_index.pipeline.corpus.text_column import TextColumn
from embed_index.schemas.columns import CarriedType

Cast = Callable[[pa.Array], pa.Array]

MAX_EXACT = 1 << 53
"""Every whole number up to it is a float of 64 bits, and no other's neighbour."""
_MAX_EXACT_DIGITS = 15
"""A decimal number of so many digits comes back from a float of 64 bits as it was."""
_MAX_INTEGER_DIGITS = 18
_PLAIN_SCALE = 6
"""With more digits behind the point, Arrow writes small decimals with an exponent."""
_UUID_DASHES = (8, 13, 18, 23)
_HEX_DIGITS = np.frombuffer("".join(f"{n:02x}" for n in range(256)).encode(), np.uint8).reshape(
    256, 2
)


@dataclass(frozen=True, slots=True)
class Reading:
    """How values of a type are read."""

    cast: Cast
    said: str = ""
    """What is done to them, for people; empty where they are read as they are."""
    carried: CarriedType | None = None
    """As what they are carried; None for ids and texts, and where there is nothing but nulls."""
    may_be_text: bool = False
    """Whether they are text as well, which they stay in collections that have them as that."""


def value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values, which a dictionary or an extension may hold."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if isinstance(kind, pa.BaseExtensionType) and not _is_uuid(kind):
        return kind.storage_type
    return kind


def is_text(kind: pa.DataType) -> bool:
    """Tell whether values are strings, in whatever layout."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def read_ids(kind: pa.DataType) -> Reading | None:
    """Say how ids of a type are read, as strings, integers or floats; None if they are not."""
    values = value_type(kind)
    if is_text(values) or pa.types.is_integer(values) or pa.types.is_null(values):
        return Reading(_plain)
    if pa.types.is_floating(values):
        return Reading(_plain, "floats, of which whole numbers below 2**53 are ids")
    if pa.types.is_decimal(values):
        return Reading(_decimal_texts, "decimals, as their digits")
    return _read_bytes(values)


def read_texts(kind: pa.DataType) -> Reading | None:
    """Say how texts of a type are read; None if they are not."""
    values = value_type(kind)
    if is_text(values) or pa.types.is_null(values):
        return Reading(_plain)
    if _is_bytes(values):
        return _read_bytes(values)
    if is_list(values):
        inner = value_type(values.value_type)
        if is_text(inner) or _is_bytes(inner):
            return Reading(_joined, "lists of strings, joined by a blank line")
    return None


def read_carried(kind: pa.DataType) -> Reading | None:
    """Say how values of a type are carried; None if a collection cannot hold them."""
    values = value_type(kind)
    if pa.types.is_null(values):
        return NOTHING
    if is_text(values) or pa.types.is_timestamp(values) or pa.types.is_date(values):
        return Reading(_plain, carried="text")
    if pa.types.is_boolean(values):
        return Reading(_plain, carried="boolean")
    if pa.types.is_integer(values) and values != pa.uint64():
        return Reading(_plain, carried="integer")
    if pa.types.is_floating(values):
        return Reading(_plain, carried="number")
    if pa.types.is_decimal(values):
        if values.scale == 0 and values.precision <= _MAX_INTEGER_DIGITS:
            return Reading(_integers, "decimals, as integers", carried="integer")
        if values.scale >= 0 and values.precision <= _MAX_EXACT_DIGITS:
            return Reading(_numbers, "decimals, as numbers", carried="number")
        return None
    reading = _read_bytes(values)
    return None if reading is None else replace(reading, carried="text")


def joined_texts(columns: Sequence[pa.Array]) -> pa.Array:
    """Join the texts of several columns by a blank line, row by row.

    What is null or empty is no part of a text; a row without any is null where all of it is.
    """
    if len(columns) == 1:
        return columns[0]
    # Strings need not be UTF-8, so they are joined as bytes.
    parts = [_large_bytes(column) for column in columns]
    # Made here: the first scalar that Arrow makes imports pandas where that is installed.
    no_bytes, empty, blank_line = (
        pa.scalar(value, pa.large_binary()) for value in (None, b"", b"\n\n")
    )
    told = [pc.if_else(pc.equal(pc.binary_length(x), 0), no_bytes, x) for x in parts]
    # Of a row with nothing to join, Arrow would make no row at all.
    told[0] = pc.if_else(_all_null(told), empty, told[0])
    texts = pc.binary_join_element_wise(*told, blank_line, null_handling="skip")
    return pc.if_else(_all_null(parts), no_bytes, texts).view(pa.large_string())


def whole_numbers(floats: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Return floats as integers, and which of them are none; those become null."""
    values = floats.cast(pa.float64()).to_numpy(zero_copy_only=False)
    is_null = floats.is_null().to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        is_whole = (np.abs(values) < MAX_EXACT) & (np.floor(values) == values)
    numbers = np.where(is_whole, values, 0.0).astype(np.int64)
    return pa.array(numbers, mask=is_null | ~is_whole), ~is_whole & ~is_null


def exact_floats(integers: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Return integers as floats, and which of them no float can be trusted with; those are null."""
    is_null = integers.is_null().to_numpy(zero_copy_only=False)
    numbers = integers.fill_null(0).to_numpy(zero_copy_only=False)
    is_large = (numbers > MAX_EXACT) | (numbers < -MAX_EXACT)
    return pa.array(numbers.astype(np.float64), mask=is_null | is_large), is_large


def _read_bytes(values: pa.DataType) -> Reading | None:
    if _is_uuid(values):
        return Reading(lambda array: _hex_texts(array, dashes=_UUID_DASHES), "UUIDs, as text")
    if pa.types.is_fixed_size_binary(values):
        return Reading(_hex_texts, "bytes of fixed length, as hexadecimal digits")
    if _is_bytes(values):
        return Reading(_utf8, "bytes without a mark as text, as UTF-8")
    return None


def _all_null(columns: Sequence[pa.Array]) -> pa.BooleanArray:
    return reduce(pc.and_, [column.is_null() for column in columns])


def _large_bytes(column: pa.Array) -> pa.Array:
    return TextColumn(column).array.cast(pa.large_binary())


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


def _is_uuid(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.UuidType)


def is_list(kind: pa.DataType) -> bool:
    """Tell whether values are lists, in whatever layout."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _plain(array: pa.Array) -> pa.Array:
    """Return what stands below an extension type; a dictionary stays one."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array


NOTHING = Reading(_plain)


def decoded(array: pa.Array) -> pa.Array:
    """Return the values themselves, which a dictionary or an extension may hold."""
    array = _plain(array)
    return _plain(array.dictionary_decode()) if pa.types.is_dictionary(array.type) else array


def _integers(array: pa.Array) -> pa.Array:
    return decoded(array).cast(pa.int64())


def _numbers(array: pa.Array) -> pa.Array:
    # Python's is the nearest float; Arrow's cast need not be.
    values = [None if value is None else float(value) for value in decoded(array).to_pylist()]
    return pa.array(values, pa.float64())


def _utf8(array: pa.Array) -> pa.Array:
    array = _plain(array)
    if pa.types.is_dictionary(array.type):
        return pa.DictionaryArray.from_arrays(array.indices, _utf8(array.dictionary))
    if pa.types.is_binary_view(array.type):
        return array.view(pa.string_view())
    return array.view(pa.large_string() if pa.types.is_large_binary(array.type) else pa.string())


def _decimal_texts(array: pa.Array) -> pa.Array:
    array = decoded(array)
    if 0 <= array.type.scale <= _PLAIN_SCALE:
        return array.cast(pa.string())
    return pa.array([None if x is None else f"{x:f}" for x in array.to_pylist()], pa.string())


def _hex_texts(array: pa.Array, *, dashes: Sequence[int] = ()) -> pa.Array:
    array = decoded(array)
    num_rows, width = len(array), array.type.byte_width
    digits = np.zeros((num_rows, 2 * width), dtype=np.uint8)
    content = array.buffers()[1]
    if num_rows and width and content is not None:
        every = np.frombuffer(content, np.uint8)
        raw = every[array.offset * width : (array.offset + num_rows) * width]
        digits = _HEX_DIGITS[raw].reshape(num_rows, 2 * width)
    places = [dash - number for number, dash in enumerate(dashes)]
    text = np.ascontiguousarray(np.insert(digits, places, ord("-"), axis=1))
    bounds = np.arange(num_rows + 1, dtype=np.int64) * text.shape[1]
    texts = pa.LargeStringArray.from_buffers(num_rows, pa.py_buffer(bounds), pa.py_buffer(text))
    return pc.if_else(array.is_valid(), texts, pa.scalar(None, pa.large_string()))


def _joined(array: pa.Array) -> pa.Array:
    """Join lists of strings by a blank line; a null in a list is no paragraph."""
    # Strings need not be UTF-8, so they are joined as bytes.
    rows = decoded(array).cast(pa.large_list(pa.large_binary())).to_pylist()
    texts = [
        None if row is None else b"\n\n".join(part for part in row if part is not None)
        for row in rows
    ]
    return pa.array(texts, pa.large_binary()).view(pa.large_string())
