"""Lists and structs as the one JSON text that stands for each, hashed and compared like others."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pyarrow as pa

from embed_index.pipeline.corpus.casts import Reading, decoded, is_list, is_text, value_type
from embed_index.schemas.columns import MAX_LIST_LENGTH, canonical_json

FLAW = b"\xff"
"""With what begins, in the place of a text, what is wrong with a value: no text does."""


class _FlawError(ValueError):
    pass


def read_structured(kind: pa.DataType) -> Reading | None:
    """Say how values of a type are carried if they have parts; None if they have not, or others."""
    if isinstance(kind, pa.JsonType):
        return Reading(lambda array: array, carried="json", may_be_text=True)
    values = value_type(kind)
    if is_list(values) and is_text(value_type(values.value_type)):
        return Reading(partial(_as_texts, check=_strings), carried="list")
    if pa.types.is_nested(values) and _is_json(values):
        return Reading(partial(_as_texts, check=_same), "lists or structs, as JSON", carried="json")
    return None


def json_texts(array: pa.Array) -> pa.Array:
    """Return texts of JSON as the one text of what each says."""
    return _as_texts(array, check=_parsed)


def _is_json(kind: pa.DataType) -> bool:
    """Tell whether JSON says values of a type exactly."""
    values = value_type(kind)
    if is_list(values):
        return _is_json(values.value_type)
    if pa.types.is_map(values):
        return is_text(value_type(values.key_type)) and _is_json(values.item_type)
    if pa.types.is_struct(values):
        fields = [values.field(place) for place in range(values.num_fields)]
        names = {field.name for field in fields}
        return len(names) == len(fields) > 0 and all(_is_json(field.type) for field in fields)
    return bool(
        is_text(values)
        or pa.types.is_null(values)
        or pa.types.is_boolean(values)
        or pa.types.is_floating(values)
        or pa.types.is_integer(values)
    )


def _as_texts(array: pa.Array, *, check: Callable[[Any], Any]) -> pa.Array:
    texts = [_text(value, check) for value in _values(decoded(array))]
    # A flaw is no UTF-8, so that a look at the whole column finds it.
    return pa.array(texts, pa.large_binary()).view(pa.large_string())


def _text(value: object, check: Callable[[Any], Any]) -> bytes | None:
    if value is None:
        return None
    try:
        if isinstance(value, _FlawError):
            raise value
        return canonical_json(check(value)).encode("utf-8")
    except _FlawError as flaw:
        return FLAW + str(flaw).encode()
    except (ValueError, RecursionError):
        return FLAW + b"holds NaN, infinity or what is no Unicode."


def _values(array: pa.Array) -> Iterable[object]:
    try:
        values: list[object] = array.to_pylist(maps_as_pydicts="strict")
    except (UnicodeDecodeError, KeyError):
        values = [_value_or_flaw(scalar) for scalar in array]
    return values


def _value_or_flaw(scalar: pa.Scalar) -> object:
    try:
        return scalar.as_py(maps_as_pydicts="strict")
    except UnicodeDecodeError:
        return _FlawError("is not valid UTF-8.")
    except KeyError:
        return _FlawError("holds a key twice.")


def _same(value: Any) -> Any:
    return value


def _strings(values: list[str | None]) -> list[str | None]:
    if None in values:
        raise _FlawError("holds null in a list, which Milvus cannot.")
    if len(values) > MAX_LIST_LENGTH:
        raise _FlawError(
            f"holds a list of {len(values):,} strings; Milvus takes {MAX_LIST_LENGTH:,}."
        )
    return values


def _parsed(text: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise _FlawError("is not valid JSON.") from error
    if not isinstance(value, dict | list):
        raise _FlawError("is a single value, and no object or list of JSON.")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _FlawError("holds a key twice.")
    return found
