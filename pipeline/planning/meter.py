"""What goes through an embedder, and how long it is at work."""

import time
from collections.abc import Sequence

from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.planning.workload import Workload
from embed_index.schemas.records import TokenIds, Vectors


class MeteredEmbedder:
    """Passes everything on to another embedder, and counts; for one event loop."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._in_flight = 0
        self._since = 0.0
        self.work = Workload()
        """What was embedded."""
        self.busy_seconds = 0.0
        """While at least one request was on its way."""

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        """Embed as the other one does; what is refused is not counted."""
        if not self._in_flight:
            self._since = time.monotonic()
        self._in_flight += 1
        try:
            vectors = await self._embedder.embed(token_ids, dimension=dimension)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self.busy_seconds += time.monotonic() - self._since
        self.work += Workload.of_lengths([ids.size for ids in token_ids])
        return vectors
