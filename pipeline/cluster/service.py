"""The embedding servers of a Ray cluster, seen as one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from embed_index.pipeline.cluster.connection import (
    ClusterNode,
    connect,
    disconnect,
    list_nodes,
)
from embed_index.pipeline.cluster.order import WorkOrder, versions
from embed_index.pipeline.cluster.pool import ClusterEmbedder
from embed_index.pipeline.cluster.remote import RemoteWorker
from embed_index.pipeline.cluster.seat import ClusterLimits
from embed_index.pipeline.server.service import EmbeddingRequest, EmbeddingService
from embed_index.schemas.precision import Dtype

_REQUESTS_ON_GPU = 24
_REQUESTS_ON_CPU = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterUse:
    """Which cluster a command uses, and how."""

    address: str
    """`auto`, or HOST:PORT of the head."""
    num_cpus: int
    """Cores for each worker, where no node has a GPU."""
    dtype: Dtype
    start_seconds: float
    """For Ray to place a worker, and for its server to start."""
    max_in_flight: int
    """Batches at one worker at once; 0 chooses."""
    extra_flags: tuple[str, ...]
    """SGLang's."""
    log_folder: str
    """On each node."""
    log_owner: str


@asynccontextmanager
async def cluster_service(
    use: ClusterUse, *, request: EmbeddingRequest
) -> AsyncIterator[EmbeddingService]:
    """Have workers on all nodes, and wait for the first one; others join when they are ready.

    Leaving the context leaves nothing of them behind.

    Raises:
        ConfigurationError: No node fits the request.
        ServerError: There is no cluster, or nothing in it can be used.
    """
    await connect(use.address)
    is_lost = False
    try:
        nodes = await asyncio.to_thread(list_nodes)
        on_gpu = any(node.num_gpus for node in nodes if node.is_alive)
        order, here = _order_for(use, request=request, on_gpu=on_gpu), versions()

        def hire(node: ClusterNode) -> RemoteWorker:
            return RemoteWorker(node, order=order, versions=here, num_cpus=use.num_cpus)

        embedder = ClusterEmbedder(
            limits=ClusterLimits(
                on_gpu=on_gpu,
                num_cpus=use.num_cpus,
                max_in_flight=use.max_in_flight
                or (_REQUESTS_ON_GPU if on_gpu else _REQUESTS_ON_CPU),
                placing_seconds=use.start_seconds,
            ),
            hire=hire,
            list_nodes=list_nodes,
            prove=request.prove,
            tell=request.tell,
        )
        try:
            async with embedder:
                access = await embedder.wait_ready()
                yield EmbeddingService(embedder=embedder, access=access)
        finally:
            is_lost = embedder.is_head_lost
    finally:
        # Ray would ask the head once more, and wait for its answer.
        if not is_lost:
            await asyncio.to_thread(disconnect)


def _order_for(use: ClusterUse, *, request: EmbeddingRequest, on_gpu: bool) -> WorkOrder:
    model = request.model
    return WorkOrder(
        model=model.location,
        hub_revision=model.hub_revision,
        revision=model.revision,
        dtype=use.dtype,
        on_gpu=on_gpu,
        dimension=request.dimension,
        max_tokens=request.max_tokens,
        answer_seconds=request.answer_seconds,
        start_seconds=use.start_seconds,
        extra_flags=use.extra_flags,
        log_folder=use.log_folder,
        log_owner=use.log_owner,
        canary_ids=tuple(tuple(ids.tolist()) for ids in request.canary_ids),
    )
