"""Rows as Milvus takes and gives them: checked, cut to its limits, packed into requests.

Milvus' client trusts its caller: rows of unequal width are stored shifted, and two rows of one
primary key in a request are both kept. Nothing that is not checked here is checked at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from embed_index.pipeline.milvus.stored import ChunkKey, StoredChunk
from embed_index.schemas.columns import MAX_CARRIED_TEXT_BYTES, CarriedColumn, CarriedType
from embed_index.schemas.records import CarriedValue, Chunk, EmbeddedBatch, Vectors

Row: TypeAlias = dict[str, Any]

MAX_CHUNK_ID_BYTES = 32
MAX_DOC_ID_BYTES = 512
MAX_SOURCE_BYTES = 1024
MAX_TEXT_BYTES = 65_535
NORM_TOLERANCE = 1e-3

KEY_FIELDS = ("chunk_id", "doc_id", "chunk_index", "num_chunks", "doc_hash")
POSITION_FIELDS = ("char_start", "char_end", "num_tokens", "text_complete", "source")

_ROW_OVERHEAD_BYTES = 256
_PYTHON_TYPES: Mapping[CarriedType, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def check_batch(batch: EmbeddedBatch, *, dimension: int, columns: Sequence[CarriedColumn]) -> None:
    """Refuse a batch that Milvus would store wrongly or would answer with a crash.

    Raises:
        ValueError: Vectors of another shape or type than the collection's, not finite or not of
            unit length; a key twice in the batch; a value beyond its field's limit.
    """
    vectors = batch.vectors
    if vectors.dtype != np.float32 or vectors.shape != (len(batch.chunks), dimension):
        raise ValueError(
            f"vectors are {vectors.dtype} of shape {vectors.shape}; the collection needs float32 "
            f"of shape ({len(batch.chunks)}, {dimension})"
        )
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE))
    if wrong.size:
        chunk = batch.chunks[int(wrong[0])]
        raise ValueError(
            f"the vector of chunk {chunk.chunk_index} of document {chunk.document.doc_id!r} has "
            f"length {norms[wrong[0]]}, not 1"
        )
    seen: set[str] = set()
    for chunk in batch.chunks:
        if chunk.chunk_id in seen:
            raise ValueError(f"chunk {chunk.chunk_id} is twice in one batch")
        seen.add(chunk.chunk_id)
        _check_chunk(chunk, columns)


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
        fits = isinstance(value, _PYTHON_TYPES[column.type])
        if not fits or (isinstance(value, bool) and column.type != "boolean"):
            raise ValueError(
                f"column {column.name!r} of document {document.doc_id!r} is "
                f"{type(value).__name__}; the collection needs {column.type}"
            )
        if isinstance(value, str):
            _check_bytes(column.name, value, MAX_CARRIED_TEXT_BYTES)


def _check_bytes(field: str, value: str, limit: int) -> None:
    size = len(value.encode("utf-8"))
    if size > limit:
        raise ValueError(f"{field} has {size} bytes; Milvus holds {limit}")


def build_rows(batch: EmbeddedBatch, *, columns: Sequence[CarriedColumn]) -> list[Row]:
    """Turn a checked batch into rows, texts and sources cut to what Milvus holds."""
    return [
        _build_row(chunk, vector, columns)
        for chunk, vector in zip(batch.chunks, batch.vectors, strict=True)
    ]


def _build_row(chunk: Chunk, vector: Vectors, columns: Sequence[CarriedColumn]) -> Row:
    document = chunk.document
    text = cut_head(chunk.text, max_bytes=MAX_TEXT_BYTES)
    return {
        "chunk_id": chunk.chunk_id,
        "doc_id": document.doc_id,
        "chunk_index": chunk.chunk_index,
        "num_chunks": chunk.num_chunks,
        "char_start": chunk.char_start,
        "char_end": chunk.char_end,
        "num_tokens": chunk.num_tokens,
        "doc_hash": document.doc_hash,
        "text": text,
        "text_complete": len(text) == chunk.char_end - chunk.char_start,
        "source": cut_tail(str(document.source), max_bytes=MAX_SOURCE_BYTES),
        "embedding": vector,
        **{column.name: value for column, value in zip(columns, document.carried, strict=True)},
    }


def cut_head(text: str, *, max_bytes: int) -> str:
    """Return the longest beginning of a text that fits, never cut inside a character."""
    raw = text.encode("utf-8")
    return text if len(raw) <= max_bytes else raw[:max_bytes].decode("utf-8", "ignore")


def cut_tail(text: str, *, max_bytes: int) -> str:
    """Return the longest end of a text that fits, never cut inside a character."""
    raw = text.encode("utf-8")
    return text if len(raw) <= max_bytes else raw[-max_bytes:].decode("utf-8", "ignore")


def pack_requests(rows: Sequence[Row], *, max_bytes: int) -> Iterator[list[Row]]:
    """Group rows, in order, into requests of about `max_bytes`; a longer row goes alone."""
    request: list[Row] = []
    request_bytes = 0
    for row in rows:
        row_bytes = _row_bytes(row)
        if request and request_bytes + row_bytes > max_bytes:
            yield request
            request, request_bytes = [], 0
        request.append(row)
        request_bytes += row_bytes
    if request:
        yield request


def _row_bytes(row: Row) -> int:
    texts = sum(len(value.encode("utf-8")) for value in row.values() if isinstance(value, str))
    return _ROW_OVERHEAD_BYTES + texts + int(row["embedding"].nbytes)


def read_key(row: Mapping[str, Any]) -> ChunkKey:
    """Read `KEY_FIELDS` of a row that Milvus returned."""
    return ChunkKey(
        chunk_id=str(row["chunk_id"]),
        doc_id=str(row["doc_id"]),
        chunk_index=int(row["chunk_index"]),
        num_chunks=int(row["num_chunks"]),
        doc_hash=str(row["doc_hash"]),
    )


def read_chunk(row: Mapping[str, Any], *, columns: Sequence[CarriedColumn]) -> StoredChunk:
    """Read a row that Milvus returned with all fields, text and vector optional."""
    vector = row.get("embedding")
    text = row.get("text")
    key = read_key(row)
    return StoredChunk(
        chunk_id=key.chunk_id,
        doc_id=key.doc_id,
        chunk_index=key.chunk_index,
        num_chunks=key.num_chunks,
        doc_hash=key.doc_hash,
        char_start=int(row["char_start"]),
        char_end=int(row["char_end"]),
        num_tokens=int(row["num_tokens"]),
        text_complete=bool(row["text_complete"]),
        source=str(row["source"]),
        carried={column.name: _read_carried(row[column.name], column.type) for column in columns},
        text=None if text is None else str(text),
        vector=None if vector is None else np.asarray(vector, dtype=np.float32),
    )


def _read_carried(value: Any, kind: CarriedType) -> CarriedValue:
    match kind:
        case "text":
            return str(value)
        case "integer":
            return int(value)
        case "number":
            return float(value)
        case "boolean":
            return bool(value)
