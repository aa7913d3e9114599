"""Group chunks into batches by tokens, not by count."""

from collections.abc import Sequence

import numpy as np

from embed_index.schemas.records import Chunk, ChunkBatch, EmbeddedBatch


class TokenPacker:
    """Collects consecutive chunks into batches bounded by tokens and by count.

    Order is kept and nothing is dropped or split; at most one batch is held. A chunk longer than
    `max_tokens` travels alone: the server takes any input up to its context length.
    """

    def __init__(self, *, max_tokens: int, max_chunks: int) -> None:
        """Prepare a packer.

        Args:
            max_tokens: Upper bound on the summed `num_tokens` of a batch of several chunks.
            max_chunks: Upper bound on the number of chunks in one batch.
        """
        self._max_tokens = max_tokens
        self._max_chunks = max_chunks
        self._chunks: list[Chunk] = []
        self._num_tokens = 0

    def add(self, chunk: Chunk) -> ChunkBatch | None:
        """Take a chunk; return the batch before it where that one is full."""
        is_full = self._chunks and (
            self._num_tokens + chunk.num_tokens > self._max_tokens
            or len(self._chunks) == self._max_chunks
        )
        batch = self.flush() if is_full else None
        self._chunks.append(chunk)
        self._num_tokens += chunk.num_tokens
        return batch

    def flush(self) -> ChunkBatch | None:
        """Return what is held, or None where nothing is."""
        if not self._chunks:
            return None
        batch = ChunkBatch(chunks=tuple(self._chunks))
        self._chunks, self._num_tokens = [], 0
        return batch


def merge_batches(batches: Sequence[EmbeddedBatch]) -> EmbeddedBatch:
    """Return several batches as one, in order."""
    if len(batches) == 1:
        return batches[0]
    return EmbeddedBatch(
        chunks=tuple(chunk for batch in batches for chunk in batch.chunks),
        vectors=np.concatenate([batch.vectors for batch in batches]),
    )
