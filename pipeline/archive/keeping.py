"""An embedder that asks for vectors in full width, keeps them, and gives out their beginnings."""

import asyncio
from collections.abc import Sequence

from embed_index.pipeline.archive.kept_files import KeptWriter
from embed_index.pipeline.embedding.cutting import UncuttableVectorError, cut_vectors
from embed_index.pipeline.embedding.embedder import Embedder, RequestRefusedError
from embed_index.schemas.records import TokenIds, Vectors


class KeepingEmbedder:
    """Stands before another embedder; what it gives out is kept by then."""

    def __init__(self, embedder: Embedder, writer: KeptWriter, *, width: int) -> None:
        self._embedder = embedder
        self._writer = writer
        self._width = width

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        """Return unit vectors as the other embedder does; raises what it raises.

        Raises:
            UnavailableError: The disk of the kept vectors is full or fails.
        """
        vectors = await self._embedder.embed(token_ids, dimension=self._width)
        try:
            cut = cut_vectors(vectors, dimension)
        except UncuttableVectorError as error:
            raise RequestRefusedError(
                "unusable_vector", detail=str(error), places=error.places
            ) from error
        await asyncio.to_thread(self._writer.keep, token_ids, vectors)
        return cut
