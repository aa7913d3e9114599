"""Metadata columns that a collection carries beside the chunks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

CarriedType: TypeAlias = Literal["text", "integer", "number", "boolean", "list", "json"]
"""A list is of strings; json is any other list, and structs."""

RESERVED_COLUMNS = frozenset(
    {
        "chunk_id",
        "doc_id",
        "chunk_index",
        "num_chunks",
        "char_start",
        "char_end",
        "num_tokens",
        "doc_hash",
        "text",
        "text_complete",
        "source",
        "embedding",
    }
)
"""Fields that every collection has; a carried column must not bear one of these names."""

TEXT_TERMS = "text_sparse"
"""The field of the words of `text`, which Milvus fills, where a collection has text search."""

EMPTY_VALUES: Mapping[CarriedType, str | int | float | bool | None] = {
    "text": "",
    "integer": 0,
    "number": 0.0,
    "boolean": False,
    "list": "[]",
    "json": None,
}
"""What a collection holds in the place of null where the column is not nullable; JSON has null."""

MAX_CARRIED_TEXT_BYTES = 8192
"""Longer text in a carried column makes its row a dead letter rather than being cut."""
MAX_STRUCTURED_BYTES = 65_535
"""So much of a list or struct, as JSON."""
MAX_LIST_LENGTH = 4096
"""Strings in a list; Milvus takes no longer array."""

_CANONICAL = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedColumn:
    """One metadata column, as the collection stores it."""

    name: str
    type: CarriedType
    """Dates and times are carried as ISO 8601 text in UTC, which sorts as time does."""
    nullable: bool = False
    """Whether the collection holds null; where not, the type's empty value stands for it."""

    @property
    def holds_null(self) -> bool:
        """Whether null stays null."""
        return self.nullable or self.type == "json"

    @property
    def is_structured(self) -> bool:
        """Whether values have parts; on their way to Milvus they are JSON text."""
        return self.type in ("list", "json")

    @property
    def max_bytes(self) -> int:
        """The longest text, or JSON text, that is carried."""
        return MAX_STRUCTURED_BYTES if self.is_structured else MAX_CARRIED_TEXT_BYTES


def are_stored_as(columns: Sequence[CarriedColumn], stored: Sequence[CarriedColumn]) -> bool:
    """Tell whether a collection's columns take those of a corpus, be it without their nulls."""
    return [(x.name, x.type) for x in columns] == [(x.name, x.type) for x in stored]


def canonical_json(value: object) -> str:
    """Return the one JSON text of a list or an object.

    Raises:
        ValueError: It holds NaN or infinity.
    """
    return _CANONICAL.encode(value)
