"""The seam behind which rows are kept: what the flow asks of a collection."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.schemas.records import EmbeddedBatch


class Store(Protocol):
    """Where chunks go; called from several threads."""

    def upsert(self, version: str, batch: EmbeddedBatch) -> int:
        """Write the chunks and return once they are acknowledged."""

    def delete_chunks(self, version: str, chunk_ids: Sequence[str]) -> None:
        """Delete the chunks, those that do not exist included."""


class ChunkReader(Protocol):
    """Where chunks that were written before are found again."""

    def fetch_chunks(
        self,
        version: str,
        chunk_ids: Iterable[str],
        *,
        with_text: bool = False,
        with_vectors: bool = False,
    ) -> dict[str, StoredChunk]:
        """Return the stored chunks among the ids."""
