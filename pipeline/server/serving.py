"""A server that is kept serving: when it crashes or hangs, another one takes its place.

Others send the requests, and theirs are not seen here. A request of our own would wait behind all
of them, so SGLang's health route is asked: a server at work answers it with its next answer to
anybody, an idle one embeds a token for it, and one that hangs does not answer.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import httpx

from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.server.life import ServerProcess
from embed_index.pipeline.server.supervision import Launch, RestartPolicy, Tell
from embed_index.schemas.errors import EmbedIndexError, ServerError

_HEALTH_ROUTE = "/health_generate"
"""Unlike `/health`, no variable of the environment has it answer without looking."""
_ASK_AGAIN_SECONDS = 1.0
_POLICY = RestartPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchfulness:
    """How closely a server is watched, and how often it is started again."""

    answer_seconds: float
    """How long it may answer nobody."""
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
    failure: EmbedIndexError
    while True:
        server = launch()
        steady = False
        try:
            server.start()
            access = await server.wait_ready()
            announce(server, access)
            began = time.monotonic()
            failure = await _wait_until_over(server, watchfulness=watchfulness)
            steady = time.monotonic() - began > watchfulness.steady_seconds
            # One that hangs is past politeness.
            await asyncio.to_thread(server.kill)
        except EmbedIndexError as error:
            if not num_failures:
                raise
            # Its settings were right once: a port, a disk or memory that is taken becomes free.
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


async def _wait_until_over(server: ServerProcess, *, watchfulness: Watchfulness) -> ServerError:
    """Return why a server cannot be used any more."""
    ends = asyncio.create_task(server.watch())
    falls_silent = asyncio.create_task(_watch_answers(server, watchfulness=watchfulness))
    try:
        done, _ = await asyncio.wait({ends, falls_silent}, return_when=asyncio.FIRST_COMPLETED)
        await done.pop()
    except ServerError as failure:
        return failure
    finally:
        for task in (ends, falls_silent):
            task.cancel()
        await asyncio.gather(ends, falls_silent, return_exceptions=True)


async def _watch_answers(server: ServerProcess, *, watchfulness: Watchfulness) -> NoReturn:
    """Wait until a server answers nobody any more, and raise."""
    seconds = watchfulness.answer_seconds
    async with server.endpoint.http_client() as http:
        while True:
            try:
                async with asyncio.timeout(seconds):
                    await _wait_for_answer(server.endpoint, http=http)
            except TimeoutError:
                raise ServerError(
                    f"The embedding server runs, and has answered nothing for {seconds:.0f} s.",
                    remedy="See its log. Where it is only slow, raise --request-timeout-seconds.",
                ) from None
            await asyncio.sleep(watchfulness.probe_pause_seconds)


async def _wait_for_answer(endpoint: EmbeddingEndpoint, *, http: httpx.AsyncClient) -> None:
    while True:
        with contextlib.suppress(httpx.TransportError):
            # Under another root path the route is none of those that are open.
            response = await http.get(_HEALTH_ROUTE, headers=endpoint.bearer())
            if response.status_code == httpx.codes.OK:
                return
        await asyncio.sleep(_ASK_AGAIN_SECONDS)
