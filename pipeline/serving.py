"""A server that is kept serving: when it crashes or hangs, another one takes its place.

Others send the requests, so a hang is found by one of our own now and then: the smallest there is.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from embed_index.pipeline.embedding_client import ClientLimits, EmbeddingClient
from embed_index.pipeline.server_access import ServerAccess
from embed_index.pipeline.server_life import Patience, ServerLife, ServerProcess
from embed_index.pipeline.supervision import Launch, RestartPolicy, Tell
from embed_index.schemas.errors import ServerError

_PROBE = (np.zeros(1, dtype=np.int32),)
"""A single token 0, which every vocabulary has."""
_POLICY = RestartPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchfulness:
    """How closely a server is watched, and how often it is started again."""

    answer_seconds: float
    """How long a small request may wait for its answer, behind all others."""
    probe_pause_seconds: float = 30.0
    steady_seconds: float = 600.0
    """A server that lived this long is no part of a row of failures any more."""
    policy: RestartPolicy = _POLICY


async def keep_serving(
    launch: Launch,
    *,
    watchfulness: Watchfulness,
    announce: Callable[[ServerProcess, ServerAccess], None],
    tell: Tell,
) -> NoReturn:
    """Serve until cancelled; then what is in flight is finished, and nothing is left running.

    Args:
        launch: Makes one server, not started; all of them have the same port and key.
        watchfulness: How closely it is watched.
        announce: Called whenever a server is ready.
        tell: Called with a sentence for people when one is started again.

    Raises:
        EmbedIndexError: The first one does not start, or too many failed in a row.
    """
    policy = watchfulness.policy
    num_failures = 0
    while True:
        server = launch()
        steady = False
        try:
            server.start()
            access = await server.wait_ready()
            announce(server, access)
            began = time.monotonic()
            failure = await _wait_until_over(server, access, watchfulness=watchfulness)
            steady = time.monotonic() - began > watchfulness.steady_seconds
            # One that hangs is past politeness.
            await asyncio.to_thread(server.kill)
        except ServerError as error:
            if not num_failures:
                raise
            failure = error
        finally:
            await server.stop()
        num_failures = 1 if steady else num_failures + 1
        if num_failures > policy.max_deaths:
            raise ServerError(
                f"The embedding server failed {num_failures} times in a row; last: "
                f"{failure.message}",
                remedy=failure.remedy,
            ) from failure
        tell(f"{failure.message.splitlines()[0]} It is started again.")
        await asyncio.sleep(policy.pause_seconds(num_failures))


async def _wait_until_over(
    server: ServerProcess, access: ServerAccess, *, watchfulness: Watchfulness
) -> ServerError:
    """Return why a server cannot be used any more."""
    seconds = watchfulness.answer_seconds
    patience = Patience(answer_seconds=seconds, min_tokens_per_second=1.0)
    limits = ClientLimits(vocab_size=1, max_tokens=1, answer_seconds=2 * seconds)
    async with (
        EmbeddingClient(server.endpoint, limits=limits) as client,
        ServerLife(server, client, patience=patience) as life,
    ):
        over = asyncio.create_task(life.wait_until_over())
        probing = asyncio.create_task(
            _probe(life, width=access.width, pause_seconds=watchfulness.probe_pause_seconds)
        )
        try:
            await asyncio.wait({over, probing}, return_when=asyncio.FIRST_COMPLETED)
            if not over.done():
                await probing
            return await over
        finally:
            for task in (over, probing):
                task.cancel()
            await asyncio.gather(over, probing, return_exceptions=True)


async def _probe(life: ServerLife, *, width: int, pause_seconds: float) -> NoReturn:
    while True:
        await life.embed(_PROBE, dimension=width)
        await asyncio.sleep(pause_seconds)
