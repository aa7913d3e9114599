"""Embedding a batch although some of its chunks cannot be embedded."""

from dataclasses import dataclass

import numpy as np

from embed_index.pipeline.embedding.embedder import Embedder, RequestRefusedError
from embed_index.schemas.records import Chunk, ChunkBatch, DeadLetter, EmbeddedBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedChunk:
    """A chunk that stands alone and is still refused."""

    chunk: Chunk
    reason: str
    """A stable short code."""
    detail: str
    """In words, without the chunk's text."""

    def letter(self) -> DeadLetter:
        """Return it as a dead letter."""
        return DeadLetter(
            source=self.chunk.document.source,
            stage="embed",
            reason=self.reason,
            detail=self.detail,
            doc_id=self.chunk.document.doc_id,
            chunk_index=self.chunk.chunk_index,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolatedBatch:
    """A batch after embedding: what has a vector, and what has none."""

    embedded: EmbeddedBatch
    refused: tuple[RefusedChunk, ...]


async def embed_or_isolate(
    batch: ChunkBatch, *, embedder: Embedder, dimension: int
) -> IsolatedBatch:
    """Embed a batch; halve it where it is refused, until a chunk at fault stands alone.

    One bad chunk among n costs about 2 log2(n) requests. The chunks' order is kept.

    Raises:
        ServerError: The server cannot be used.
    """
    try:
        vectors = await embedder.embed(
            [chunk.token_ids for chunk in batch.chunks], dimension=dimension
        )
    except RequestRefusedError as refusal:
        if len(batch.chunks) == 1:
            return _refused(batch.chunks[0], refusal=refusal, dimension=dimension)
    else:
        return IsolatedBatch(
            embedded=EmbeddedBatch(chunks=batch.chunks, vectors=vectors), refused=()
        )
    middle = len(batch.chunks) // 2
    halves = [
        await embed_or_isolate(ChunkBatch(chunks=chunks), embedder=embedder, dimension=dimension)
        for chunks in (batch.chunks[:middle], batch.chunks[middle:])
    ]
    return _join(*halves)


def _refused(chunk: Chunk, *, refusal: RequestRefusedError, dimension: int) -> IsolatedBatch:
    nothing = EmbeddedBatch(chunks=(), vectors=np.empty((0, dimension), dtype=np.float32))
    refused = RefusedChunk(chunk=chunk, reason=refusal.reason, detail=refusal.detail)
    return IsolatedBatch(embedded=nothing, refused=(refused,))


def _join(left: IsolatedBatch, right: IsolatedBatch) -> IsolatedBatch:
    return IsolatedBatch(
        embedded=EmbeddedBatch(
            chunks=left.embedded.chunks + right.embedded.chunks,
            vectors=np.concatenate([left.embedded.vectors, right.embedded.vectors]),
        ),
        refused=left.refused + right.refused,
    )
