"""How large a collection will be in Milvus, by what its rows are made of. Arithmetic alone."""

from dataclasses import dataclass

from embed_index.pipeline.milvus.indexes import VectorIndex
from embed_index.schemas.indexes import BYTES_PER_NUMBER, VectorType

_FLOAT_BYTES = 4
_FIXED_BYTES = 32 + 32 + 5 * 8 + 1
"""Chunk id, document's hash, five numbers and a flag."""
_SOURCE_BYTES = 40
"""File and row, about."""
_LINK_BYTES = 4
_AUTO_LINKS = 18
"""What Milvus chooses for its own index, which is a graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Rows and bytes of a collection, before Milvus compresses anything."""

    rows_now: int
    """By the ledger; 0 where there is none."""
    rows_written: int
    """By this run: embedded, kept or refreshed."""
    rows_after: int
    vector_bytes: int
    """Exact for these rows."""
    text_bytes: int
    """Of the corpus, without what chunks share with their neighbours."""
    field_bytes: int
    """Ids, places and carried values, about."""
    index_bytes: int
    """What a search holds in memory for it, or on disk with `diskann`: about."""

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.vector_bytes + self.text_bytes + self.field_bytes + self.index_bytes


def storage_of(
    *,
    rows_now: int,
    rows_written: int,
    rows_after: int,
    num_documents: int,
    text_bytes: int,
    other_bytes: int,
    dimension: int,
    index: VectorIndex,
    embedded: bool,
    vector_type: VectorType = "float32",
) -> Storage:
    """Return how large a collection will be.

    Args:
        rows_now: Before the run.
        rows_written: By the run.
        rows_after: After the run.
        num_documents: Usable ones of the corpus.
        text_bytes: Of their texts.
        other_bytes: Of their ids and carried values, which every chunk has.
        dimension: Of the vectors.
        index: Over the vectors.
        embedded: Whether it is Milvus Lite.
        vector_type: How the vectors are stored.
    """
    vector_bytes = dimension * BYTES_PER_NUMBER[vector_type]
    each = other_bytes / num_documents if num_documents else 0.0
    return Storage(
        rows_now=rows_now,
        rows_written=rows_written,
        rows_after=rows_after,
        vector_bytes=rows_after * vector_bytes,
        text_bytes=text_bytes,
        field_bytes=round(rows_after * (_FIXED_BYTES + _SOURCE_BYTES + each)),
        index_bytes=0
        if embedded and index.type in ("auto", "flat")
        # Milvus Lite searches the vectors themselves.
        else _index_bytes(rows_after, dimension=dimension, index=index, each=vector_bytes),
    )


def _index_bytes(num_rows: int, *, dimension: int, index: VectorIndex, each: int) -> int:
    vectors = num_rows * each
    params = index.build_params
    match index.type:
        case "auto" | "hnsw":
            links = 2 * params.get("M", _AUTO_LINKS) * _LINK_BYTES
            return vectors + num_rows * links
        case "ivf_flat":
            return vectors + params["nlist"] * dimension * _FLOAT_BYTES
        case "ivf_sq8":
            return num_rows * dimension + params["nlist"] * dimension * _FLOAT_BYTES
        case _:
            return vectors
