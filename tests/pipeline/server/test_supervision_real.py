"""Real servers that are killed, stopped or sent what they die of, and replaced."""

import asyncio
import os
import signal
from collections.abc import Callable

import numpy as np
import pytest
from sglang_fixtures import SAMPLE_VOCABULARY, SAMPLE_WIDTH, RunningServer, StartServer
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


def real_inputs(count: int) -> list[list[TokenIds]]:
    random = np.random.default_rng(0)
    return [
        [random.integers(3, 8_000, 200, dtype=np.int32) for _ in range(4)] for _ in range(count)
    ]


class Recording:
    """Keeps the servers that a factory made."""

    def __init__(self, make: StartServer) -> None:
        self._make = make
        self.servers: list[ManagedServer] = []

    def __call__(self) -> ServerProcess:
        self.servers.append(self._make())
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


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("number", "places"),
    [
        pytest.param(signal.SIGKILL, slice(-1, None), id="kill-the-youngest"),
        pytest.param(signal.SIGKILL, slice(1, None), id="kill-all-but-the-guard"),
        pytest.param(signal.SIGSTOP, slice(None), id="stop-all"),
    ],
)
async def test_a_real_server_that_is_hit_is_replaced_and_nothing_is_lost(
    new_server: StartServer, sglang_server: RunningServer, number: int, places: slice
) -> None:
    inputs = real_inputs(30)
    launch = Recording(new_server)

    def hit() -> None:
        for pid in launch.members()[places]:
            os.kill(pid, number)

    vectors = await embed_with_disturbance(launch, hit, inputs=inputs)

    limits = ClientLimits(vocab_size=SAMPLE_VOCABULARY, max_tokens=512)
    async with EmbeddingClient(sglang_server.server.endpoint, limits=limits) as client:
        for request, got in zip(inputs, vectors, strict=True):
            wanted = await client.embed(request, dimension=SAMPLE_WIDTH)
            np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert len(launch.servers) == 2
    for server in launch.servers:
        assert server.process_group is not None
        assert living_members(server.process_group) == []


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
