"""The meter counts what was embedded, and the time in which something was at work."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from embed_index.pipeline.embedding.embedder import RequestRefusedError
from embed_index.pipeline.planning import meter
from embed_index.pipeline.planning.meter import MeteredEmbedder
from embed_index.pipeline.planning.workload import Workload
from embed_index.schemas.records import TokenIds, Vectors


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Gated:
    """Answers when it is told to; refuses empty inputs."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        await self.may_answer.wait()
        if any(not ids.size for ids in token_ids):
            raise RequestRefusedError("refused", detail="empty")
        return np.eye(len(token_ids), dimension, dtype=np.float32)


def ids(*lengths: int) -> list[TokenIds]:
    return [np.zeros(length, dtype=np.int32) for length in lengths]


async def test_requests_side_by_side_are_one_stretch_of_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, gated = Clock(), Gated()
    monkeypatch.setattr(meter, "time", clock)
    metered = MeteredEmbedder(gated)

    first = asyncio.create_task(metered.embed(ids(3, 4), dimension=8))
    await asyncio.sleep(0)
    clock.now += 5
    second = asyncio.create_task(metered.embed(ids(10), dimension=8))
    await asyncio.sleep(0)
    clock.now += 2
    gated.may_answer.set()
    await asyncio.gather(first, second)
    clock.now += 50
    await metered.embed(ids(1), dimension=8)

    assert metered.busy_seconds == 7
    assert metered.work == Workload.of_lengths([3, 4, 10, 1])


async def test_what_is_refused_is_not_counted_and_passed_on() -> None:
    gated = Gated()
    gated.may_answer.set()
    metered = MeteredEmbedder(gated)

    with pytest.raises(RequestRefusedError):
        await metered.embed(ids(3, 0), dimension=8)

    assert metered.work == Workload()
