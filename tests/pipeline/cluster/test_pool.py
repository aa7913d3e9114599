"""What becomes of batches when workers come, go, refuse and stay away; the workers are doubles."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from embed_index.pipeline.cluster import pool, seat
from embed_index.pipeline.cluster.connection import ClusterNode
from embed_index.pipeline.cluster.order import Ready, Refused, Unusable
from embed_index.pipeline.cluster.pool import ClusterEmbedder
from embed_index.pipeline.cluster.remote import WorkerLostError
from embed_index.pipeline.cluster.seat import ClusterLimits
from embed_index.pipeline.embedding.embedder import Embedder, RequestRefusedError
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.embedding.wire import ServerDialect
from embed_index.schemas.errors import ConfigurationError, ContractError, ServerError
from embed_index.schemas.records import TokenIds, Vectors

ACCESS = ServerAccess(
    models=("m",),
    served_name="m",
    width=8,
    dialect=ServerDialect(),
    max_input_tokens=512,
    engine="sglang 0",
    dtype="float32",
    missing=(),
)


READY = Ready(access=ACCESS)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.005)


@dataclass(kw_only=True)
class Double:
    """A worker that does what it is told."""

    node: ClusterNode
    starts: Ready | Unusable = READY
    answers: Refused | Unusable | None = None
    is_lost: bool = False
    is_gone: bool = False
    may_be_placed: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    num_starts: int = 0
    num_asked: int = 0
    embedded: list[int] = field(default_factory=list)
    is_ended: bool = False

    async def be_placed(self) -> None:
        await self.may_be_placed.wait()
        self.num_asked += 1
        if self.is_lost and self.num_asked < 10:
            raise WorkerLostError("the worker is being started again")
        self._check(is_starting=True)

    async def start(self) -> Ready | Unusable:
        self.num_starts += 1
        self.is_lost = False
        self._check()
        return self.starts

    async def embed(
        self, token_ids: list[TokenIds], *, dimension: int
    ) -> Vectors | Refused | Unusable:
        self._check()
        await asyncio.sleep(0)
        await self.may_answer.wait()
        self._check()
        if self.answers is not None:
            return self.answers
        self.embedded += [int(ids[0]) for ids in token_ids]
        return np.stack([np.full(dimension, ids[0], dtype=np.float32) for ids in token_ids])

    def describe_wait(self) -> str:
        return "state PENDING_CREATION"

    async def end(self, *, politely: bool) -> None:
        self.is_ended = True

    def _check(self, *, is_starting: bool = False) -> None:
        if self.is_gone:
            raise WorkerLostError("the node died", for_good=True)
        if self.is_lost and not is_starting:
            raise WorkerLostError("the worker died")


def node(name: str, *, num_cpus: int = 1) -> ClusterNode:
    return ClusterNode(id=name * 8, host=name, num_gpus=0, num_cpus=num_cpus, is_alive=True)


class Cluster:
    def __init__(self, *names: str) -> None:
        self.nodes = [node(name) for name in names]
        self.workers: dict[str, Double] = {}
        self.told: list[str] = []
        self.prepare: Callable[[Double], None] = lambda double: None

    def hire(self, node: ClusterNode) -> Double:
        double = Double(node=node)
        double.may_be_placed.set()
        double.may_answer.set()
        self.prepare(double)
        self.workers[node.host] = double
        return double

    @asynccontextmanager
    async def open(
        self,
        *,
        prove: Callable[[Embedder, ServerAccess], Awaitable[None]] | None = None,
        max_in_flight: int = 2,
        placing_seconds: float = 60.0,
    ) -> AsyncIterator[ClusterEmbedder]:
        async def proves(_embedder: Embedder, _access: ServerAccess) -> None:
            return

        limits = ClusterLimits(
            on_gpu=False,
            num_cpus=1,
            max_in_flight=max_in_flight,
            placing_seconds=placing_seconds,
        )
        async with ClusterEmbedder(
            limits=limits,
            hire=self.hire,
            list_nodes=lambda: self.nodes,
            prove=prove or proves,
            tell=self.told.append,
        ) as embedder:
            yield embedder

    async def settled(self, embedder: ClusterEmbedder, *, num_workers: int) -> None:
        await embedder.wait_ready()
        await until(lambda: len(embedder.workers()) == num_workers)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(seat, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(pool, "_LOOK_SECONDS", 0.02)


def batch(*firsts: int) -> Sequence[TokenIds]:
    return [np.array([first, 1], dtype=np.int32) for first in firsts]


async def embed_all(embedder: ClusterEmbedder, numbers: range) -> None:
    vectors = await asyncio.gather(*(embedder.embed(batch(n), dimension=4) for n in numbers))
    assert [one[0, 0] for one in vectors] == list(numbers)


async def test_batches_go_to_whichever_worker_has_room() -> None:
    cluster = Cluster("a", "b")
    async with cluster.open(max_in_flight=2) as embedder:
        await cluster.settled(embedder, num_workers=2)
        a, b = cluster.workers["a"], cluster.workers["b"]
        a.may_answer.clear()
        waiting = [asyncio.create_task(embedder.embed(batch(n), dimension=4)) for n in range(20)]
        await until(lambda: len(b.embedded) >= 18)
        a.may_answer.set()
        await asyncio.gather(*waiting)

    assert (len(a.embedded), len(b.embedded)) == (2, 18)
    assert (a.is_ended, b.is_ended) == (True, True)


async def test_a_lost_workers_batches_are_embedded_elsewhere_and_it_is_used_again() -> None:
    cluster = Cluster("a", "b")
    async with cluster.open() as embedder:
        await cluster.settled(embedder, num_workers=2)
        lost = cluster.workers["a"]
        lost.is_lost = True

        await embed_all(embedder, range(8))
        await cluster.settled(embedder, num_workers=2)
        await embed_all(embedder, range(8, 16))

    assert embedder.num_sent_again > 0
    assert f"{embedder.num_sent_again} batches were sent again." in cluster.told
    assert any(
        x.startswith(f"{lost.node.name}: {2 * len(lost.embedded)} tokens, ") for x in cluster.told
    )
    assert lost.num_starts == 2
    assert lost.embedded
    assert any("a (node aaaaaaaa) was lost (the worker died)" in told for told in cluster.told)


async def test_a_node_that_dies_is_left_out_and_one_that_joins_is_used() -> None:
    cluster = Cluster("a", "b")
    async with cluster.open() as embedder:
        await cluster.settled(embedder, num_workers=2)
        cluster.workers["a"].is_gone = True
        await embed_all(embedder, range(8))
        await cluster.settled(embedder, num_workers=1)
        cluster.nodes.append(node("c"))
        await cluster.settled(embedder, num_workers=2)
        await embed_all(embedder, range(8, 40))

    assert cluster.workers["c"].embedded
    assert "a (node aaaaaaaa) is left out: the node died." in cluster.told
    assert "c (node cccccccc) embeds now, too." in cluster.told


async def test_a_worker_whose_server_fails_is_left_out_with_node_and_reason() -> None:
    cluster = Cluster("a", "b")
    async with cluster.open() as embedder:
        await cluster.settled(embedder, num_workers=2)
        cluster.workers["a"].answers = Unusable(message="out of memory", remedy="Take less.")
        await embed_all(embedder, range(8))

    assert "a (node aaaaaaaa) is left out: out of memory. Take less." in cluster.told
    assert len(cluster.workers["b"].embedded) == 8


async def test_a_worker_with_other_vectors_is_left_out() -> None:
    cluster = Cluster("a", "b")

    async def prove(embedder: Embedder, _access: ServerAccess) -> None:
        vectors = await embedder.embed(batch(1), dimension=4)
        if vectors[0, 0] == 1 and len(cluster.workers["a"].embedded) == 1 and not cluster.told:
            cluster.told.append("refused once")
            raise ContractError("other vectors")

    async with cluster.open(prove=prove) as embedder:
        await cluster.settled(embedder, num_workers=1)
        await embed_all(embedder, range(4))

    assert any("is left out: other vectors." in told for told in cluster.told)


@pytest.mark.parametrize(
    ("is_configuration", "kind"), [(True, ConfigurationError), (False, ServerError)]
)
async def test_without_any_worker_the_run_fails_with_each_nodes_reason(
    is_configuration: bool, kind: type[Exception]
) -> None:
    cluster = Cluster("a", "b")

    def refuse(double: Double) -> None:
        double.starts = Unusable(
            message=f"no model on {double.node.host}",
            remedy="Copy it.",
            is_configuration=is_configuration,
        )

    cluster.prepare = refuse
    async with cluster.open() as embedder:
        with pytest.raises(kind) as failure:
            await embedder.wait_ready()

    assert "a (node aaaaaaaa): no model on a; b (node bbbbbbbb): no model on b" in str(
        failure.value
    )
    assert "Copy it." in str(failure.value)


async def test_those_who_wait_learn_that_the_last_worker_is_gone() -> None:
    cluster = Cluster("a")
    async with cluster.open() as embedder:
        await cluster.settled(embedder, num_workers=1)
        cluster.workers["a"].is_gone = True
        asked = [asyncio.create_task(embedder.embed(batch(n), dimension=4)) for n in range(6)]
        failures = await asyncio.gather(*asked, return_exceptions=True)

    assert {type(failure) for failure in failures} == {ServerError}


async def test_a_worker_that_only_dies_is_given_up() -> None:
    cluster = Cluster("a", "b")
    async with cluster.open() as embedder:
        await cluster.settled(embedder, num_workers=2)
        dying = cluster.workers["a"]

        async def embed(token_ids: list[TokenIds], *, dimension: int) -> Vectors:
            raise WorkerLostError("the worker died")

        dying.embed = embed  # type: ignore[method-assign]
        async with asyncio.timeout(10):
            while not any("died 5 times" in told for told in cluster.told):
                await embed_all(embedder, range(4))

    assert dying.is_ended
    assert dying.num_starts == 5


async def test_a_worker_that_ray_does_not_place_is_no_reason_to_wait_for_ever() -> None:
    cluster = Cluster("a")
    cluster.prepare = lambda double: double.may_be_placed.clear()
    async with cluster.open(placing_seconds=0.05) as embedder:
        with pytest.raises(ServerError, match=r"placed no worker there .*PENDING_CREATION"):
            await embedder.wait_ready()


async def test_a_worker_that_is_placed_late_is_used_all_the_same() -> None:
    cluster = Cluster("a", "b")
    cluster.prepare = lambda double: (
        double.may_be_placed.clear() if double.node.host == "b" else None
    )
    async with cluster.open(placing_seconds=0.05) as embedder:
        await until(lambda: any("b (node bbbbbbbb) is left out" in x for x in cluster.told))
        cluster.workers["b"].may_be_placed.set()
        await cluster.settled(embedder, num_workers=2)


async def test_a_refused_input_is_refused_by_the_pool() -> None:
    cluster = Cluster("a")
    async with cluster.open() as embedder:
        await cluster.settled(embedder, num_workers=1)
        cluster.workers["a"].answers = Refused(reason="zero_vector", detail="zeros", places=(1,))
        with pytest.raises(RequestRefusedError) as refusal:
            await embedder.embed(batch(1, 2), dimension=4)

    assert (refusal.value.reason, refusal.value.places) == ("zero_vector", (1,))


async def test_a_silent_head_fails_the_run_before_ray_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_SILENCE_SECONDS", 0.2)
    cluster = Cluster("a")
    async with cluster.open() as embedder:
        await cluster.settled(embedder, num_workers=1)
        silence = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hang() -> list[ClusterNode]:
            asyncio.run_coroutine_threadsafe(silence.wait(), loop).result()
            return []

        embedder._list_nodes = hang
        cluster.workers["a"].may_answer.clear()
        waiting = [asyncio.create_task(embedder.embed(batch(n), dimension=4)) for n in range(3)]
        with pytest.raises(ServerError, match="head of the Ray cluster has not answered"):
            await waiting[2]
        for task in waiting:
            task.cancel()
        silence.set()

    assert embedder.is_head_lost
    assert not cluster.workers["a"].is_ended


async def test_a_cluster_without_room_says_what_its_nodes_have() -> None:
    cluster = Cluster()
    cluster.nodes = [node("a", num_cpus=0)]
    async with cluster.open() as embedder:
        with pytest.raises(ConfigurationError, match=r"has 1 cores for a worker \(a .*: 0 cores\)"):
            await embedder.wait_ready()


async def test_a_mistake_of_ours_is_raised_where_the_pool_is_asked() -> None:
    cluster = Cluster("a")

    async def prove(_embedder: Embedder, _access: ServerAccess) -> None:
        raise ZeroDivisionError

    async with cluster.open(prove=prove) as embedder:
        with pytest.raises(ZeroDivisionError):
            await embedder.wait_ready()
