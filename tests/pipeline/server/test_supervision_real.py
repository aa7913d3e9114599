"""Servers that are processes: killed, stopped or sent what they die of, and replaced."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hash_embedding_server import vector_of
from process_marks import MARK, processes_with
from sglang_fixtures import (
    SAMPLE_VOCABULARY,
    SAMPLE_WIDTH,
    RunningServer,
    StartServer,
    light_environment,
)
from supervised import supervised, supervision

from embed_index.pipeline.embedding.client import (
    ClientLimits,
    EmbeddingClient,
)
from embed_index.pipeline.embedding.embedder import RequestRefusedError
from embed_index.pipeline.server.life import ServerProcess
from embed_index.pipeline.server.process import ManagedServer
from embed_index.pipeline.server.process_group import living_members
from embed_index.schemas.records import TokenIds, Vectors


def make_inputs(count: int) -> list[list[TokenIds]]:
    random = np.random.default_rng(0)
    return [
        [random.integers(3, 8_000, 200, dtype=np.int32) for _ in range(4)] for _ in range(count)
    ]


class Recording:
    """Keeps the servers that a factory made."""

    def __init__(self, make: StartServer, *, environ: Mapping[str, str] = os.environ) -> None:
        self._make, self._environ = make, environ
        self.servers: list[ManagedServer] = []

    def __call__(self) -> ServerProcess:
        self.servers.append(self._make(environ=self._environ))
        return self.servers[-1]

    def members(self) -> list[int]:
        """Process ids of the newest server: guard, SGLang and its children, oldest first."""
        group = self.servers[-1].process_group
        assert group is not None
        return sorted(living_members(group))


async def embed_with_disturbance(
    launch: Recording, disturb: Callable[[], None], *, inputs: list[list[TokenIds]]
) -> list[Vectors]:
    how = supervision(answer_seconds=5.0, vocab_size=SAMPLE_VOCABULARY, dimension=SAMPLE_WIDTH)
    done = 0

    async def embed(request: list[TokenIds]) -> Vectors:
        nonlocal done
        async with running:
            vectors = await embedder.embed(request, dimension=SAMPLE_WIDTH)
        done += 1
        if done == len(inputs) // 3:
            disturb()
        return vectors

    running = asyncio.Semaphore(4)
    async with supervised(launch, how) as embedder:
        return await asyncio.gather(*map(embed, inputs))


def hit(launch: Recording, number: int, places: slice) -> Callable[[], None]:
    def disturb() -> None:
        for pid in launch.members()[places]:
            os.kill(pid, number)

    return disturb


def check_replaced(launch: Recording, mark: str) -> None:
    assert len(launch.servers) == 2
    for server in launch.servers:
        assert server.process_group is not None
        assert living_members(server.process_group) == []
    # Nor has anything of it moved to another group.
    assert processes_with(mark) == []


HITS = {
    "kill-the-youngest": (signal.SIGKILL, slice(-1, None)),
    "kill-all-but-the-guard": (signal.SIGKILL, slice(1, None)),
    "stop-all": (signal.SIGSTOP, slice(None)),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "how",
    [
        # What SGLang does about it is its own.
        "kill-the-youngest",
        pytest.param("kill-all-but-the-guard", marks=pytest.mark.slow),
        pytest.param("stop-all", marks=pytest.mark.slow),
    ],
)
async def test_a_real_server_that_is_hit_is_replaced_and_nothing_is_lost(
    new_server: StartServer, sglang_server: RunningServer, mark: str, how: str
) -> None:
    inputs = make_inputs(12)
    launch = Recording(new_server, environ={**os.environ, MARK: mark})

    vectors = await embed_with_disturbance(launch, hit(launch, *HITS[how]), inputs=inputs)

    limits = ClientLimits(vocab_size=SAMPLE_VOCABULARY, max_tokens=512)
    async with EmbeddingClient(sglang_server.server.endpoint, limits=limits) as client:
        for request, got in zip(inputs, vectors, strict=True):
            wanted = await client.embed(request, dimension=SAMPLE_WIDTH)
            np.testing.assert_allclose(got, wanted, atol=1e-5)
    check_replaced(launch, mark)


@pytest.mark.parametrize("how", ["kill-all-but-the-guard", "stop-all"])
async def test_a_server_that_is_hit_is_replaced_and_nothing_is_lost(
    new_light_server: StartServer, mark: str, how: str
) -> None:
    inputs = make_inputs(30)
    launch = Recording(new_light_server, environ={**light_environment(), MARK: mark})

    vectors = await embed_with_disturbance(launch, hit(launch, *HITS[how]), inputs=inputs)

    for request, got in zip(inputs, vectors, strict=True):
        wanted = [np.frombuffer(vector_of(ids.tolist()), "<f4") for ids in request]
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    check_replaced(launch, mark)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_an_id_that_kills_a_real_server_becomes_one_refusal(new_server: StartServer) -> None:
    launch = Recording(new_server)
    inputs = [np.array([5, 6], dtype=np.int32), np.array([SAMPLE_VOCABULARY + 7], dtype=np.int32)]
    # The client knows a larger vocabulary than the server has, so that the id goes out.
    how = supervision(answer_seconds=30.0, vocab_size=1_000_000, dimension=SAMPLE_WIDTH)

    async with supervised(launch, how) as embedder:
        with pytest.raises(RequestRefusedError, match="kills_server"):
            await embedder.embed(inputs, dimension=SAMPLE_WIDTH)
        good = await embedder.embed(inputs[:1], dimension=SAMPLE_WIDTH)
        with pytest.raises(RequestRefusedError, match="kills_server"):
            await embedder.embed(inputs[1:], dimension=SAMPLE_WIDTH)
        again = await embedder.embed(inputs[:1], dimension=SAMPLE_WIDTH)

    np.testing.assert_allclose(good, again, atol=1e-6)
    assert len(launch.servers) == 5
