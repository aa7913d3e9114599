"""Which rows of a corpus can be used, and why the others cannot.

`check_id`, `check_text` and `check_carried` say so of one value. Nearly all rows are beyond doubt,
and `find_doubtful` clears these by whole columns, so that only the others are checked one by one.
"""

import re
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.corpus.text_column import TextColumn
from embed_index.schemas.columns import EMPTY_VALUES, CarriedColumn
from embed_index.schemas.records import CarriedValue

MAX_DOC_ID_BYTES = 512
MAX_TEXT_CHARS = 1 << 27

_PRINTABLE_ASCII = (0x20, 0x7E)
_NOT_NUL = (0x01, 0xFF)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
OUT_OF_RANGE = object()
"""Stands for a date or time outside of the years that Python counts."""


class BadRowError(Exception):
    """A row that cannot be used: a dead letter's reason and detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def find_doubtful(ids: TextColumn, texts: TextColumn) -> NDArray[np.bool_]:
    """Mark the rows that `check_id` or `check_text` could refuse; they accept all others."""
    doubtful = np.zeros(len(ids), dtype=np.bool_)
    if ids.is_utf8:
        doubtful |= ids.blank() | ids.beyond(*_PRINTABLE_ASCII) | (ids.num_bytes > MAX_DOC_ID_BYTES)
    else:
        doubtful[:] = True
    if texts.is_utf8:
        doubtful |= texts.blank() | texts.beyond(*_NOT_NUL) | (texts.num_bytes > MAX_TEXT_CHARS)
    else:
        doubtful[:] = True
    return doubtful


def check_id(value: str | bytes | None) -> str:
    """Return a document id as it is.

    Args:
        value: None for null, bytes for what is not UTF-8.

    Raises:
        BadRowError: It cannot be one.
    """
    if value is None:
        raise BadRowError("null_id", "The document id is null.")
    if isinstance(value, bytes):
        raise BadRowError("invalid_id", "The document id is not valid UTF-8.")
    if not value.strip():
        raise BadRowError("empty_id", "The document id is empty.")
    if _CONTROL.search(value):
        raise BadRowError("invalid_id", "The document id holds control characters.")
    if len(value.encode("utf-8")) > MAX_DOC_ID_BYTES:
        raise BadRowError("long_id", f"The document id is longer than {MAX_DOC_ID_BYTES} bytes.")
    return value


def check_text(value: str | bytes | None) -> None:
    """Refuse a text that cannot be indexed.

    Args:
        value: None for null, bytes for what is not UTF-8.

    Raises:
        BadRowError: It cannot.
    """
    if value is None:
        raise BadRowError("null_text", "The text is null.")
    if isinstance(value, bytes):
        raise BadRowError("invalid_text", "The text is not valid UTF-8, or holds lone surrogates.")
    if not value or value.isspace():
        raise BadRowError("empty_text", "The text is empty or only white space.")
    if "\x00" in value:
        raise BadRowError("nul_in_text", "The text holds NUL characters, as binary files do.")
    if len(value) > MAX_TEXT_CHARS:
        raise BadRowError("huge_text", f"The text is longer than {MAX_TEXT_CHARS} characters.")


def check_carried(column: CarriedColumn, value: object) -> CarriedValue:
    """Return a carried value as the collection stores it.

    Args:
        column: Where it is from.
        value: As Arrow gives it; bytes for what is not UTF-8.

    Raises:
        BadRowError: The collection cannot hold it.
    """
    if value is None:
        return None if column.holds_null else EMPTY_VALUES[column.type]
    if isinstance(value, bytes):
        if column.is_structured:
            flaw = value.lstrip(b"\xff").decode()
            raise BadRowError("invalid_carried", f"The column {column.name!r} {flaw}")
        raise BadRowError("invalid_carried", f"The column {column.name!r} is not valid UTF-8.")
    if value is OUT_OF_RANGE:
        raise BadRowError(
            "invalid_carried", f"The column {column.name!r} is not within the years 1 to 9999."
        )
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        raise BadRowError("invalid_carried", f"The column {column.name!r} is NaN or infinite.")
    if isinstance(value, str) and len(value.encode("utf-8")) > column.max_bytes:
        raise BadRowError(
            "long_carried",
            f"The column {column.name!r} is longer than {column.max_bytes} bytes.",
        )
    assert isinstance(value, (str, int, float))
    return value
