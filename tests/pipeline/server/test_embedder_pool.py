import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from embed_index.pipeline.server.service import EmbedderPool
from embed_index.schemas.errors import ServerError
from embed_index.schemas.records import TokenIds, Vectors


def tokens(count: int) -> TokenIds:
    return np.zeros(count, dtype=np.int32)


class Held:
    """Answers when it is let; remembers how many tokens each request had."""

    def __init__(self) -> None:
        self.requests: list[int] = []
        self.open = asyncio.Event()

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        self.requests.append(sum(ids.size for ids in token_ids))
        await self.open.wait()
        return np.ones((len(token_ids), dimension), dtype=np.float32)


class Broken:
    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        raise ServerError("gone for good")


async def start(pool: EmbedderPool, *sizes: int) -> list[asyncio.Task[Vectors]]:
    tasks = [asyncio.create_task(pool.embed([tokens(size)], dimension=4)) for size in sizes]
    await asyncio.sleep(0)
    return tasks


async def test_a_request_goes_to_the_server_with_the_fewest_tokens() -> None:
    first, second = Held(), Held()
    pool = EmbedderPool([first, second])

    tasks = await start(pool, 100, 30, 30, 30, 30)

    assert first.requests == [100]
    assert second.requests == [30, 30, 30, 30]
    for server in (first, second):
        server.open.set()
    await asyncio.gather(*tasks)


async def test_what_is_answered_no_longer_counts() -> None:
    first, second = Held(), Held()
    pool = EmbedderPool([first, second])
    tasks = await start(pool, 100, 50)

    first.open.set()
    await tasks[0]
    tasks += await start(pool, 70)

    assert (first.requests, second.requests) == ([100, 70], [50])
    second.open.set()
    await asyncio.gather(*tasks)


async def test_a_stuck_server_takes_its_share_and_no_more() -> None:
    stuck, sound = Held(), Held()
    sound.open.set()
    pool = EmbedderPool([stuck, sound])
    num_in_flight = asyncio.Semaphore(8)

    async def embed() -> None:
        async with num_in_flight:
            await pool.embed([tokens(10)], dimension=4)

    tasks = [asyncio.create_task(embed()) for _ in range(100)]
    await asyncio.wait(tasks, timeout=0.2)

    assert len(sound.requests) >= 80
    assert len(stuck.requests) <= 4
    stuck.open.set()
    await asyncio.gather(*tasks)


async def test_a_server_that_is_gone_for_good_fails_its_requests() -> None:
    pool = EmbedderPool([Broken(), Held()])

    with pytest.raises(ServerError, match="gone for good"):
        await pool.embed([tokens(1)], dimension=4)


def test_a_pool_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an embedder"):
        EmbedderPool([])
