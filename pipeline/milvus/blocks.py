"""Rows as columns: how they are copied from one version of a collection to another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from embed_index.pipeline.milvus.rows import (
    KEY_FIELDS,
    MAX_CHUNK_ID_BYTES,
    MAX_DOC_ID_BYTES,
    MAX_SOURCE_BYTES,
    MAX_TEXT_BYTES,
    POSITION_FIELDS,
    check_unit,
    fits,
)
from embed_index.pipeline.milvus.vector_types import read_field
from embed_index.schemas.columns import CarriedColumn, CarriedType, canonical_json
from embed_index.schemas.indexes import VectorType
from embed_index.schemas.records import CarriedValue, Vectors

BLOCK_FIELDS: Mapping[str, CarriedType] = {
    "chunk_id": "text",
    "doc_id": "text",
    "chunk_index": "integer",
    "num_chunks": "integer",
    "char_start": "integer",
    "char_end": "integer",
    "num_tokens": "integer",
    "doc_hash": "text",
    "text": "text",
    "text_complete": "boolean",
    "source": "text",
}
"""What every row has beside its vector and the carried columns, in the schema's order."""

_MAX_BYTES = {
    "chunk_id": MAX_CHUNK_ID_BYTES,
    "doc_id": MAX_DOC_ID_BYTES,
    "doc_hash": 32,
    "text": MAX_TEXT_BYTES,
    "source": MAX_SOURCE_BYTES,
}

assert {*KEY_FIELDS, *POSITION_FIELDS, "text"} == BLOCK_FIELDS.keys()


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    return canonical_json(value if isinstance(value, dict) else list(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBlock:
    """Some rows of a collection, everything that they hold."""

    fields: Mapping[str, Sequence[CarriedValue]]
    """By name: those of `BLOCK_FIELDS`, then the carried columns."""
    vectors: Vectors
    """Shape (number of rows, dimension)."""

    @classmethod
    def of_answer(
        cls,
        rows: list[dict[str, Any]],
        *,
        carried: Sequence[CarriedColumn],
        vector_type: VectorType = "float32",
    ) -> Self:
        """Turn pymilvus' answer, with all fields of at least one row, into columns.

        It has the vectors as they came over the wire, and makes Python numbers of them row by row
        for whoever looks at a row. That takes three quarters of the time.
        """
        lazy = {field.field_name: field for field in rows._lazy_field_data}  # type: ignore[attr-defined] # noqa: SLF001
        vectors = read_field(lazy.pop("embedding"), vector_type)
        names = (*BLOCK_FIELDS, *(column.name for column in carried))
        scalars = list(list.__iter__(rows))
        for column in lazy.values():
            for place, row in enumerate(scalars):
                rows._extract_lazy_fields(place, column, row)  # type: ignore[attr-defined] # noqa: SLF001
        return cls(
            fields={name: [row[name] for row in scalars] for name in names}
            | {
                column.name: [_as_text(row[column.name]) for row in scalars]
                for column in carried
                if column.is_structured
            },
            vectors=vectors,
        )

    def __len__(self) -> int:
        return len(self.vectors)

    def check(self, *, dimension: int, carried: Sequence[CarriedColumn]) -> None:
        """Refuse rows that Milvus would store wrongly, as `check_batch` does.

        Raises:
            ValueError: Vectors of another shape or type than the collection's, not finite or not
                of unit length; a key twice; a value of another type, or beyond its field's limit.
        """
        keys = self.fields["chunk_id"]
        wrong = check_unit(self.vectors, num_rows=len(keys), dimension=dimension)
        if wrong is not None:
            raise ValueError(f"the vector of chunk {keys[wrong]} has not length 1")
        if len(set(keys)) < len(keys):
            raise ValueError("a chunk is twice in one block")
        for name, kind in BLOCK_FIELDS.items():
            self._check(name, kind, max_bytes=_MAX_BYTES.get(name, 0), nullable=False)
        for column in carried:
            self._check(
                column.name,
                column.type,
                max_bytes=column.max_bytes,
                nullable=column.holds_null,
            )

    def _check(self, name: str, kind: CarriedType, *, max_bytes: int, nullable: bool) -> None:
        for value in self.fields[name]:
            if value is None and nullable:
                continue
            if not fits(value, kind):
                raise ValueError(
                    f"column {name!r} is {type(value).__name__}; the collection needs {kind}"
                )
            if isinstance(value, str) and len(value.encode("utf-8")) > max_bytes:
                raise ValueError(f"{name} has more than the {max_bytes} bytes that Milvus holds")
