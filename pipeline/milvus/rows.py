"""Rows as Milvus takes and gives them: checked, cut to its limits.

Milvus' client trusts its caller: rows of unequal width are stored shifted, and two rows of one
primary key in a request are both kept. Nothing that is not checked here is checked at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from embed_index.pipeline.milvus.stored import ChunkKey, StoredChunk
from embed_index.pipeline.milvus.vector_types import read_vector
from embed_index.schemas.columns import CarriedColumn, CarriedType
from embed_index.schemas.indexes import VectorType
from embed_index.schemas.records import CarriedValue, Chunk, EmbeddedBatch, Vectors

Row: TypeAlias = dict[str, Any]

MAX_CHUNK_ID_BYTES = 32
MAX_DOC_ID_BYTES = 512
MAX_SOURCE_BYTES = 1024
MAX_TEXT_BYTES = 65_535
NORM_TOLERANCE = 4e-3
"""Of a length of 1; a bfloat16 is rounded by up to a 256th of itself."""

KEY_FIELDS = ("chunk_id", "doc_id", "chunk_index", "num_chunks", "doc_hash")
POSITION_FIELDS = ("char_start", "char_end", "num_tokens", "text_complete", "source")

_MAX_CHARACTER_BYTES = 4
_PYTHON_TYPES: Mapping[CarriedType, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "list": (str, list),
    "json": (str, list, dict),
}


def check_batch(batch: EmbeddedBatch, *, dimension: int, columns: Sequence[CarriedColumn]) -> None:
    """Refuse a batch that Milvus would store wrongly or would answer with a crash.

    Raises:
        ValueError: Vectors of another shape or type than the collection's, not finite or not of
            unit length; a key twice in the batch; a value beyond its field's limit.
    """
    wrong = check_unit(batch.vectors, num_rows=len(batch.chunks), dimension=dimension)
    if wrong is not None:
        chunk = batch.chunks[wrong]
        length = np.linalg.norm(batch.vectors[wrong].astype(np.float64))
        raise ValueError(
            f"the vector of chunk {chunk.chunk_index} of document {chunk.document.doc_id!r} has "
            f"length {length}, not 1"
        )
    seen: set[str] = set()
    for chunk in batch.chunks:
        if chunk.chunk_id in seen:
            raise ValueError(f"chunk {chunk.chunk_id} is twice in one batch")
        seen.add(chunk.chunk_id)
        _check_chunk(chunk, columns)


def check_unit(vectors: Vectors, *, num_rows: int, dimension: int) -> int | None:
    """Return the row of the first vector that has not unit length, None for none.

    Raises:
        ValueError: They are of another type, number or width.
    """
    if vectors.dtype != np.float32 or vectors.shape != (num_rows, dimension):
        raise ValueError(
            f"vectors are {vectors.dtype} of shape {vectors.shape}; the collection needs float32 "
            f"of shape ({num_rows}, {dimension})"
        )
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE))
    return int(wrong[0]) if wrong.size else None


def fits(value: CarriedValue, kind: CarriedType) -> bool:
    """Tell whether a value that is not null is one of a column's type."""
    is_of_type = isinstance(value, _PYTHON_TYPES[kind])
    return is_of_type and (kind == "boolean" or not isinstance(value, bool))


def _check_chunk(chunk: Chunk, columns: Sequence[CarriedColumn]) -> None:
    document = chunk.document
    _check_bytes("chunk_id", chunk.chunk_id, MAX_CHUNK_ID_BYTES)
    _check_bytes("doc_id", document.doc_id, MAX_DOC_ID_BYTES)
    if len(document.carried) != len(columns):
        raise ValueError(
            f"document {document.doc_id!r} carries {len(document.carried)} values; the collection "
            f"has {len(columns)} carried columns"
        )
    for column, value in zip(columns, document.carried, strict=True):
        if value is None and column.holds_null:
            continue
        if not fits(value, column.type):
            raise ValueError(
                f"column {column.name!r} of document {document.doc_id!r} is "
                f"{type(value).__name__}; the collection needs {column.type}"
            )
        if isinstance(value, str):
            _check_bytes(column.name, value, column.max_bytes)


def _check_bytes(field: str, value: str, limit: int) -> None:
    if len(value) * _MAX_CHARACTER_BYTES <= limit:
        return
    size = len(value.encode("utf-8"))
    if size > limit:
        raise ValueError(f"{field} has {size} bytes; Milvus holds {limit}")


def cut_head(text: str, *, max_bytes: int) -> str:
    """Return the longest beginning of a text that fits, never cut inside a character."""
    if len(text) * _MAX_CHARACTER_BYTES <= max_bytes:
        return text
    raw = text.encode("utf-8")
    return text if len(raw) <= max_bytes else raw[:max_bytes].decode("utf-8", "ignore")


def cut_tail(text: str, *, max_bytes: int) -> str:
    """Return the longest end of a text that fits, never cut inside a character."""
    if len(text) * _MAX_CHARACTER_BYTES <= max_bytes:
        return text
    raw = text.encode("utf-8")
    return text if len(raw) <= max_bytes else raw[-max_bytes:].decode("utf-8", "ignore")


def read_key(row: Mapping[str, Any]) -> ChunkKey:
    """Read `KEY_FIELDS` of a row that Milvus returned."""
    return ChunkKey(
        chunk_id=str(row["chunk_id"]),
        doc_id=str(row["doc_id"]),
        chunk_index=int(row["chunk_index"]),
        num_chunks=int(row["num_chunks"]),
        doc_hash=str(row["doc_hash"]),
    )


def read_chunk(
    row: Mapping[str, Any],
    *,
    columns: Sequence[CarriedColumn],
    vector_type: VectorType = "float32",
) -> StoredChunk:
    """Read a row that Milvus returned with all fields, text and vector optional."""
    vector = row.get("embedding")
    text = row.get("text")
    return StoredChunk(
        chunk_id=str(row["chunk_id"]),
        doc_id=str(row["doc_id"]),
        chunk_index=int(row["chunk_index"]),
        num_chunks=int(row["num_chunks"]),
        doc_hash=str(row["doc_hash"]),
        char_start=int(row["char_start"]),
        char_end=int(row["char_end"]),
        num_tokens=int(row["num_tokens"]),
        text_complete=bool(row["text_complete"]),
        source=str(row["source"]),
        carried={column.name: _read_carried(row[column.name], column.type) for column in columns},
        text=None if text is None else str(text),
        vector=None if vector is None else read_vector(vector, vector_type),
    )


def _read_carried(value: Any, kind: CarriedType) -> CarriedValue:
    if value is None:
        return None
    match kind:
        case "text":
            return str(value)
        case "integer":
            return int(value)
        case "number":
            return float(value)
        case "boolean":
            return bool(value)
        case "list":
            return list(value)
        case "json":
            parsed: CarriedValue = value
            return parsed
