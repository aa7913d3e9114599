"""When a job sent its first batch, and when its last document was committed."""

import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from embed_index.jobs.adapters import servers as server_choice
from embed_index.jobs.cli.progress import PlainReporter
from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.server.service import EmbeddingRequest, EmbeddingService
from embed_index.schemas.records import TokenIds, Vectors
from embed_index.schemas.settings import JobSettings
from embed_index.schemas.summary import RunCounters


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Some tokens in some time."""

    begin: float
    end: float
    num_tokens: int

    @property
    def rate(self) -> float:
        return self.num_tokens / (self.end - self.begin)


class LastCommit(PlainReporter):
    """Remembers when the last document was committed."""

    def __init__(self) -> None:
        super().__init__(stream=sys.stderr, results=sys.stdout, quiet=True)
        self.at = 0.0
        self._num_done = 0

    def progressed(self, counters: RunCounters, *, waiting_for: str) -> None:
        if counters.num_documents_done > self._num_done:
            self._num_done, self.at = counters.num_documents_done, time.monotonic()


class FirstRequest:
    """Remembers when the job sent its first batch; the canaries do not come this way."""

    def __init__(self) -> None:
        self.at = 0.0
        self._embedder: Embedder | None = None

    @asynccontextmanager
    async def choose_service(
        self, settings: JobSettings, *, request: EmbeddingRequest, log_owner: str
    ) -> AsyncIterator[EmbeddingService]:
        async with server_choice.choose_service(
            settings, request=request, log_owner=log_owner
        ) as service:
            self._embedder = service.embedder
            yield EmbeddingService(embedder=self, access=service.access)

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        assert self._embedder is not None
        self.at = self.at or time.monotonic()
        return await self._embedder.embed(token_ids, dimension=dimension)
