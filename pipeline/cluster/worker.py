"""A worker on a node of the cluster: owns a managed server there, takes ids, gives vectors.

It is made an actor by the driver; nothing here imports Ray. What goes wrong is an answer and no
exception, so that Ray has no traceback to keep. A worker whose process ends takes its server
along (the server's guard sees to it), and ends with the node's raylet.
"""

import asyncio
import os
import platform
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from embed_index.pipeline.cluster.order import (
    Ready,
    Refused,
    Unusable,
    WorkOrder,
    describe_differences,
    versions,
)
from embed_index.pipeline.embedding.canaries import min_cosine
from embed_index.pipeline.embedding.client import SLOWEST_TOKENS_PER_SECOND
from embed_index.pipeline.embedding.embedder import Embedder, RequestRefusedError
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.host.model import refuse_broken_weights
from embed_index.pipeline.model.files import ModelFiles, find_model
from embed_index.pipeline.server.gpus import visible_gpus
from embed_index.pipeline.server.precision import choose_precision
from embed_index.pipeline.server.process import ManagedServer
from embed_index.pipeline.server.profile import SLOWEST_ON_GPU, profile_for
from embed_index.pipeline.server.service import EmbeddingRequest, EmbeddingService, managed_service
from embed_index.schemas.errors import ConfigurationError, ContractError, EmbedIndexError
from embed_index.schemas.records import TokenIds, Vectors

Ids: TypeAlias = npt.NDArray[np.int32]

_LOOK_SECONDS = 1.0


class Worker:
    """One server on one node."""

    def __init__(self, driver: dict[str, str], order: str) -> None:
        """Compare this node with the driver's host; nothing is started yet.

        Args:
            driver: What `versions` says there.
            order: A `WorkOrder` as JSON; read only where the versions are the same.
        """
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        self._differences = describe_differences(versions(), driver)
        self._order_text = order
        self._opening = asyncio.Lock()
        self._closing = AsyncExitStack()
        self._started: Ready | Unusable | None = None
        self._service: EmbeddingService | None = None

    async def hello(self) -> None:
        """Say that Ray has placed this worker."""

    async def start(self) -> Ready | Unusable:
        """Start the server and wait until it is proven; asked again, say the same."""
        async with self._opening:
            if self._started is None:
                self._started = await self._start()
            return self._started

    async def embed(self, ids: Ids, lengths: Ids, *, dimension: int) -> Any:
        """Embed a batch.

        Args:
            ids: All inputs, one behind the other.
            lengths: Of each input.
            dimension: Width of the vectors.

        Returns:
            Unit vectors, float32, shape (inputs, dimension); or `Refused`; or `Unusable`, after
            which nothing is embedded here any more.
        """
        if self._service is None:
            return Unusable(message="the worker has no server")
        inputs = np.split(ids, np.cumsum(lengths[:-1]))
        try:
            return await self._service.embedder.embed(inputs, dimension=dimension)
        except RequestRefusedError as refusal:
            return Refused(reason=refusal.reason, detail=refusal.detail, places=refusal.places)
        except EmbedIndexError as error:
            return Unusable.because(error)

    async def stop(self) -> None:
        """End the server politely."""
        self._service = None
        await self._closing.aclose()

    async def _start(self) -> Ready | Unusable:
        if self._differences:
            return Unusable(
                message=f"this node has {self._differences}",
                remedy="Install the same on all nodes, then run again.",
                is_configuration=True,
            )
        order = WorkOrder.model_validate_json(self._order_text)
        failure: BaseException
        try:
            # Hashing a model's files takes a while, and the loop has calls to answer.
            model = await asyncio.to_thread(_find_same_model, order)
            request = _request_for(order, model)
            self._service = await self._closing.enter_async_context(
                managed_service([lambda: _server_for(order, model)], request=request)
            )
        except* EmbedIndexError as group:
            failure = group
        else:
            return Ready(access=self._service.access)
        return Unusable.because(_first(failure))


class SameAsBefore:
    """Lets a server that was started again embed only if it gives the vectors of the first one.

    Whether the first one fits the collection is the driver's to judge.
    """

    def __init__(self, canaries: list[TokenIds], *, dimension: int) -> None:
        self._canaries = canaries
        self._dimension = dimension
        self._first: Vectors | None = None

    async def prove(self, embedder: Embedder, access: ServerAccess) -> None:
        """Embed the canaries and compare.

        Raises:
            ContractError: The server gives other vectors than the one before it.
            ServerError: It cannot be used.
        """
        vectors = await embedder.embed(self._canaries, dimension=self._dimension)
        if self._first is None:
            self._first = vectors
            return
        cosine = float(np.einsum("ij,ij->i", self._first, vectors).min())
        if cosine < min_cosine(access.dtype):
            raise ContractError(
                "the embedding server was started again, and gives the canary texts other vectors"
                f" than before (cosine {cosine:.4f}; at least {min_cosine(access.dtype)})",
                remedy="Something changed the model's files meanwhile; restore them, run again.",
            )


def _first(failure: BaseException) -> EmbedIndexError:
    """Return the failure that a task group reports first, out of groups within groups."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    assert isinstance(failure, EmbedIndexError)
    return failure


def _end_with(parent: int) -> None:
    """End this process, and so its server, once Ray's own process on this node is gone.

    Ray itself leaves a worker of asyncio running then, for ever.
    """
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def _find_same_model(order: WorkOrder) -> ModelFiles:
    model = find_model(order.model, revision=order.hub_revision)
    if model.revision != order.revision:
        raise ConfigurationError(
            f"this node has another revision of {model.name} ({model.revision}) than the driver"
            f" ({order.revision})",
            remedy="Copy the same files to all nodes, then run again.",
        )
    if model.hub_revision is None:
        refuse_broken_weights(Path(model.location))
    return model


def _request_for(order: WorkOrder, model: ModelFiles) -> EmbeddingRequest:
    canaries = [np.array(ids, dtype=np.int32) for ids in order.canary_ids]
    return EmbeddingRequest(
        model=model,
        dimension=order.dimension,
        max_tokens=order.max_tokens,
        answer_seconds=order.answer_seconds,
        min_tokens_per_second=SLOWEST_ON_GPU if order.on_gpu else SLOWEST_TOKENS_PER_SECOND,
        prove=SameAsBefore(canaries, dimension=order.dimension).prove,
    )


def _server_for(order: WorkOrder, model: ModelFiles) -> ManagedServer:
    gpus = visible_gpus() if order.on_gpu else ()
    if order.on_gpu and not gpus:
        raise ConfigurationError(
            "Ray gave this worker a GPU, and CUDA finds none",
            remedy="Check the driver and the rights on /dev/nvidia* on this node.",
        )
    profile = profile_for(
        model,
        precision=choose_precision(order.dtype, model=model, gpus=gpus),
        gpus=gpus,
        max_tokens=order.max_tokens,
        flags=order.extra_flags,
    )
    return ManagedServer(
        profile,
        log_folder=Path(order.log_folder),
        log_owner=f"{platform.node()}-{order.log_owner}",
        start_seconds=order.start_seconds,
    )
