"""A worker as its driver sees it: an actor, asked over Ray."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

import numpy as np

from embed_index.pipeline.cluster.connection import ClusterNode
from embed_index.pipeline.cluster.order import Ready, Refused, Unusable, WorkOrder
from embed_index.schemas.errors import shortened
from embed_index.schemas.records import TokenIds, Vectors

_STOP_SECONDS = 20.0
_MAX_CHARS = 300
_IDS = frozenset({"class_name", "actor_id", "pid", "name", "namespace", "ip"})
_HEX = re.compile(r"\b[0-9a-f]{32,}\b")


class WorkerLostError(Exception):
    """Ray lost a worker; what was in flight there may or may not have been embedded."""

    def __init__(self, said: str, *, for_good: bool = False) -> None:
        super().__init__(said)
        self.said = said
        self.for_good = for_good
        """Whether Ray will not start it again, as when its node is gone."""


class Remote(Protocol):
    """What the pool needs of a worker."""

    async def be_placed(self) -> None:
        """Wait until Ray has found it a place; raises WorkerLostError."""

    async def start(self) -> Ready | Unusable:
        """Wait until it embeds, however often it was started before; raises WorkerLostError."""

    async def embed(
        self, token_ids: list[TokenIds], *, dimension: int
    ) -> Vectors | Refused | Unusable:
        """Embed a batch; raises WorkerLostError."""

    def describe_wait(self) -> str:
        """Say what Ray says of a worker that does not come."""

    async def end(self, *, politely: bool) -> None:
        """Leave nothing of it."""


class RemoteWorker:
    """One actor, bound to its node; Ray starts it again there when its process ends."""

    def __init__(
        self, node: ClusterNode, *, order: WorkOrder, versions: Mapping[str, str], num_cpus: int
    ) -> None:
        """Have Ray place it.

        Args:
            node: Where; nowhere else.
            order: What it serves.
            versions: Of the driver.
            num_cpus: Cores that it takes; without meaning on a GPU, of which it takes one.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from embed_index.pipeline.cluster.worker import Worker

        room = {"num_gpus": 1} if order.on_gpu else {"num_cpus": num_cpus}
        self._node = node
        self._actor = (
            ray.remote(Worker)
            .options(
                **room,
                # Its process may come again at any time; a batch goes again only from here.
                max_restarts=-1,
                max_task_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            )
            .remote(dict(versions), order.model_dump_json())
        )

    async def be_placed(self) -> None:
        """Wait until Ray has found it a place."""
        await _answer(self._actor.hello.remote())

    async def start(self) -> Ready | Unusable:
        """Wait until it embeds."""
        answer: Ready | Unusable = await _answer(self._actor.start.remote())
        return answer

    async def embed(
        self, token_ids: list[TokenIds], *, dimension: int
    ) -> Vectors | Refused | Unusable:
        """Embed a batch as two arrays, which Ray hands over without a copy."""
        ids = np.concatenate(token_ids).astype(np.int32, copy=False)
        lengths = np.array([one.size for one in token_ids], dtype=np.int32)
        answer: Vectors | Refused | Unusable = await _answer(
            self._actor.embed.remote(ids, lengths, dimension=dimension)
        )
        return answer

    def describe_wait(self) -> str:
        """Say in which state it is, and what is free on its node."""
        from ray._private import state

        told = state.actors(self._actor._actor_id.hex())  # noqa: SLF001
        free = state.available_resources_per_node().get(self._node.id, {})
        counted = {kind: free.get(kind, 0.0) for kind in ("CPU", "GPU")}
        there = ", ".join(f"{number:g} {kind}" for kind, number in counted.items())
        return f"state {told.get('State', 'unknown')}; free on that node: {there}"

    async def end(self, *, politely: bool) -> None:
        """End the server in order if there is time, then the actor for certain."""
        import ray

        if politely:
            # Otherwise the server's guard ends it with the actor.
            with contextlib.suppress(TimeoutError, WorkerLostError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await _answer(self._actor.stop.remote())
        ray.kill(self._actor)


async def _answer(asked: Awaitable[Any]) -> Any:
    from ray.exceptions import (
        ActorDiedError,
        ActorUnschedulableError,
        RayError,
        RayTaskError,
        RuntimeEnvSetupError,
    )

    try:
        return await asked
    except RayTaskError as error:
        # Of what went wrong in the worker's own code only the kind is told: no text gets out.
        cause = type(getattr(error, "cause", None) or error).__name__
        return Unusable(
            message=f"the worker failed ({cause})", remedy="This is a bug in embed-index."
        )
    except (ActorDiedError, ActorUnschedulableError, RuntimeEnvSetupError) as error:
        raise WorkerLostError(_words(error), for_good=True) from error
    except RayError as error:
        raise WorkerLostError(_words(error)) from error


def _words(error: Exception) -> str:
    """Return Ray's own reason, without ids."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = " ".join(line for line in lines if line.partition(":")[0] not in _IDS)
    words = shortened(" ".join(_HEX.sub("", said).split()), max_chars=_MAX_CHARS)
    return words.rstrip(".") or type(error).__name__
