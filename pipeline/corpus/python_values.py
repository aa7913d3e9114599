"""Arrow's values as Python's, where the two do not hold the same."""

from typing import Any

import pyarrow as pa

from embed_index.pipeline.corpus.row_checks import OUT_OF_RANGE


def to_python(column: pa.Array) -> list[Any]:
    """Convert a column; what Python cannot hold comes back as `_value_or_flaw` says."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        # Python knows no nanoseconds, and what is stored is text with at most microseconds; an
        # instant in UTC needs no time zone to be known by this machine.
        kind = column.type
        numbers = column.view(pa.int64())
        if kind.unit == "ns":
            # Towards the past, before 1970 too, where Arrow rounds towards the future.
            micros = numbers.fill_null(0).to_numpy(zero_copy_only=False) // 1000
            is_null = numbers.is_null().to_numpy(zero_copy_only=False)
            numbers = pa.array(micros, pa.int64(), mask=is_null)
        unit = "us" if kind.unit == "ns" else kind.unit
        column = numbers.view(pa.timestamp(unit, kind.tz and "UTC"))
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
