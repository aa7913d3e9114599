"""A worker's place on a node, and how many places a node has."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from embed_index.pipeline.cluster.connection import ClusterNode
from embed_index.pipeline.cluster.order import Refused, Unusable
from embed_index.pipeline.cluster.remote import Remote, WorkerLostError
from embed_index.schemas.errors import EmbedIndexError
from embed_index.schemas.records import TokenIds, Vectors

PAUSE_SECONDS = 1.0
"""Between questions to what Ray starts again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLimits:
    """How a run uses a cluster."""

    on_gpu: bool
    num_cpus: int
    """Cores for each worker, where there are no GPUs."""
    max_in_flight: int
    """Batches at one worker at once."""
    placing_seconds: float
    """Until a worker that Ray has not placed is no longer counted on; it may still come."""

    def num_workers(self, node: ClusterNode) -> int:
        """Return how many workers a node has room for."""
        return node.num_gpus if self.on_gpu else node.num_cpus // self.num_cpus


class Seat:
    """A worker's place on a node, and what became of it."""

    def __init__(self, node: ClusterNode, remote: Remote) -> None:
        self.node = node
        self.remote = remote
        self.failure: EmbedIndexError | None = None
        """Why it is left out; None for one that embeds or may yet."""
        self.num_in_flight = 0
        self.tokens_in_flight = 0
        self.num_tokens = 0
        """Embedded."""
        self.num_deaths = 0
        """Since its last answer."""
        self._ready_since: float | None = None
        self._seconds_before = 0.0
        self.lost = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether it embeds at this moment."""
        return self._ready_since is not None

    @is_ready.setter
    def is_ready(self, ready: bool) -> None:
        self._seconds_before = self.seconds()
        self._ready_since = time.monotonic() if ready else None

    def seconds(self) -> float:
        """Return how long it has been ready, all its lives together."""
        since = self._ready_since
        return self._seconds_before + (0.0 if since is None else time.monotonic() - since)


class SeatEmbedder:
    """One worker, seen as an embedder while it is proven."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        """Embed there; raises what that worker's loss or refusal is."""
        answer = await self._seat.remote.embed(list(token_ids), dimension=dimension)
        if isinstance(answer, Refused | Unusable):
            raise answer.as_error()
        return answer


async def until_placed(remote: Remote) -> None:
    """Ask until an answer comes: what Ray starts again cannot be asked meanwhile."""
    while True:
        try:
            return await remote.be_placed()
        except WorkerLostError as error:
            if error.for_good:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
