"""Metadata columns that a collection carries beside the chunks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

CarriedType: TypeAlias = Literal["text", "integer", "number", "boolean"]

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

EMPTY_VALUES: Mapping[CarriedType, str | int | float | bool] = {
    "text": "",
    "integer": 0,
    "number": 0.0,
    "boolean": False,
}
"""What a collection holds in the place of null where the column is not nullable."""

MAX_CARRIED_TEXT_BYTES = 8192
"""Longer text in a carried column makes its row a dead letter rather than being cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedColumn:
    """One metadata column, as the collection stores it."""

    name: str
    type: CarriedType
    """Dates and times are carried as ISO 8601 text in UTC, which sorts as time does."""
    nullable: bool = False
    """Whether the collection holds null; where not, the type's empty value stands for it."""


def are_stored_as(columns: Sequence[CarriedColumn], stored: Sequence[CarriedColumn]) -> bool:
    """Tell whether a collection's columns take those of a corpus, be it without their nulls."""
    return [(x.name, x.type) for x in columns] == [(x.name, x.type) for x in stored]
