"""Embedding a batch although some of its chunks cannot be embedded."""

from collections.abc import Sequence
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
    """Embed a batch; divide it where it is refused, until a chunk at fault stands alone.

    Chunks that the refusal names are tried alone, and the others together: one request for each
    bad chunk. Where it names none, halves are tried: one bad chunk among n costs about 2 log2(n)
    requests.

    Raises:
        ServerError: The server cannot be used.
    """
    waiting: list[tuple[Chunk, ...]] = [batch.chunks]
    embedded: list[Chunk] = []
    vectors = [np.empty((0, dimension), dtype=np.float32)]
    refused: list[RefusedChunk] = []
    while waiting:
        chunks = waiting.pop()
        try:
            made = await embedder.embed([chunk.token_ids for chunk in chunks], dimension=dimension)
        except RequestRefusedError as refusal:
            if len(chunks) > 1:
                waiting.extend(reversed(_divide(chunks, suspects=refusal.places)))
                continue
            refused.append(
                RefusedChunk(chunk=chunks[0], reason=refusal.reason, detail=refusal.detail)
            )
        else:
            embedded.extend(chunks)
            vectors.append(made)
    return IsolatedBatch(
        embedded=EmbeddedBatch(chunks=tuple(embedded), vectors=np.concatenate(vectors)),
        refused=tuple(refused),
    )


def _divide(chunks: tuple[Chunk, ...], *, suspects: Sequence[int]) -> list[tuple[Chunk, ...]]:
    if not suspects:
        middle = len(chunks) // 2
        return [chunks[:middle], chunks[middle:]]
    named = set(suspects)
    others = tuple(chunk for place, chunk in enumerate(chunks) if place not in named)
    return [part for part in (others, *((chunks[place],) for place in suspects)) if part]
