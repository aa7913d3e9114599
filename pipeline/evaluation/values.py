"""Values of label files, checked: ids, texts and grades, by whatever name their column has."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress

from embed_index.schemas.errors import ConfigurationError

QUERY_ID = ("query_id", "query-id", "qid", "_id", "id")
QUERY_TEXT = ("query", "text", "title")
DOC_ID = ("doc_id", "corpus-id", "corpus_id", "docid", "docno", "document_id", "pid")
GRADE = ("relevance", "score", "rel", "grade", "label")
ANSWERS = ("doc_ids", "relevant")
"""Columns of a query file that hold its judgements: a list of ids, or grades by id."""

_EXACT_FLOATS = 2.0**53


def named(row: Mapping[str, object], names: Sequence[str]) -> str | None:
    """Return which of some names a row has; None for none."""
    return next((name for name in names if name in row), None)


def read_id(value: object, *, where: str, what: str) -> str:
    """Return an id as text.

    Args:
        value: As the file has it: text, or a whole number.
        where: File and line, for the error.
        what: Whose it is, for the error.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOATS:
        return str(int(value))
    raise ConfigurationError(
        f"{where}: {_shown(value)} is no id of a {what}",
        remedy="An id is a text or a whole number.",
    )


def read_text(value: object, *, where: str) -> str:
    """Return what a query searches for.

    Raises:
        ConfigurationError: It is empty, or no text.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(
            f"{where}: the query's text is {_shown(value)}", remedy="Give each query a text."
        )
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigurationError(f"{where}: the query is not UTF-8", remedy="Save it as UTF-8.")
    return value.strip()


def read_grade(value: object, *, where: str) -> int:
    """Return how relevant a document is; below 0 stands for what was judged not to answer.

    Raises:
        ConfigurationError: It is no whole number.
    """
    number = value
    if isinstance(value, str):
        with suppress(ValueError):
            number = float(value)
    if isinstance(number, int | float) and math.isfinite(number) and float(number).is_integer():
        return int(number)
    raise ConfigurationError(
        f"{where}: the relevance is {_shown(value)}, and must be a whole number",
        remedy="Write 0 for what does not answer, 1 for what does, and more for what does better.",
    )


def _shown(value: object) -> str:
    if value is None:
        return "null"
    return repr(value) if isinstance(value, str | int | float) else type(value).__name__
