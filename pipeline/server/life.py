"""One life of a managed server, from readiness to its end: a crash, a hang, or being unusable."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Never, Protocol, Self

from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.secrecy.keyring import Keyring
from embed_index.schemas.errors import ServerError
from embed_index.schemas.records import TokenIds, Vectors

_POLL_SECONDS = 0.1


class Watched(Protocol):
    """What can be seen of a server's process."""

    def is_alive(self) -> bool:
        """Tell whether it runs."""

    async def watch(self) -> Never:
        """Wait until it ends, and raise ServerError."""


class ServerProcess(Watched, Protocol):
    """What supervision needs of a managed server."""

    endpoint: EmbeddingEndpoint

    def start(self) -> None:
        """Launch it and return at once."""

    async def wait_ready(self, *, dimension: int | None = None) -> ServerAccess:
        """Wait until it embeds; on failure or cancellation it is ended."""

    def take_keys(self, keyring: Keyring) -> None:
        """Have it take these keys, and its own, from now on."""

    def kill(self) -> None:
        """End all of it at once."""

    async def stop(self) -> None:
        """End it politely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a server with work to do may go without a single answer."""

    answer_seconds: float
    """For a short request."""
    min_tokens_per_second: float
    """The largest request in flight may take that much longer."""


class OutOfSight:
    """The process of a server that somebody else runs: only its answers tell of it."""

    def is_alive(self) -> bool:
        """Assume that it runs."""
        return True

    async def watch(self) -> Never:
        """Wait for ever."""
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


class ServerLife:
    """Embeds until the server's end, and then fails every request at once."""

    def __init__(self, server: Watched, client: Embedder, *, patience: Patience) -> None:
        self._server = server
        self._client = client
        self._patience = patience
        self._in_flight: list[Sequence[TokenIds]] = []
        self._last_sign = time.monotonic()
        self._over = asyncio.Event()
        self._failure = ServerError("The embedding server was stopped.")
        self._watching: asyncio.Task[None] | None = None
        self.num_inputs_alone = 0
        """Of the request that was alone with the server when it ended; 0 if there were several."""

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._end(self._failure)

    async def wait_until_over(self) -> ServerError:
        """Return why the server cannot be used any more."""
        await self._over.wait()
        return self._failure

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        """Embed as `EmbeddingClient.embed` does; a failure of the server is its end."""
        answer = asyncio.ensure_future(self._client.embed(token_ids, dimension=dimension))
        over = asyncio.ensure_future(self._over.wait())
        if not self._in_flight:
            self._last_sign = time.monotonic()
        self._in_flight.append(token_ids)
        try:
            await asyncio.wait({answer, over}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                self._last_sign = time.monotonic()
                return answer.result()
        except ServerError as error:
            self._end(error)
            raise
        finally:
            self._in_flight = [other for other in self._in_flight if other is not token_ids]
            for task in (answer, over):
                task.cancel()
            await asyncio.gather(answer, over, return_exceptions=True)
        raise ServerError(self._failure.message, remedy=self._failure.remedy)

    def _end(self, failure: ServerError) -> None:
        if not self._over.is_set():
            alone = len(self._in_flight) == 1
            self.num_inputs_alone = len(self._in_flight[0]) if alone else 0
            self._failure = failure
            self._over.set()

    async def _watch(self) -> None:
        while not self._over.is_set():
            if not self._server.is_alive():
                try:
                    await self._server.watch()
                except ServerError as failure:
                    self._end(failure)
            elif (silent := time.monotonic() - self._last_sign) > self._longest_silence():
                self._end(
                    ServerError(
                        f"The embedding server runs, and has answered nothing for {silent:.0f} s.",
                        remedy="See its log. Where it is only slow, raise --request-timeout-seconds"
                        " or lower --batch-tokens.",
                    )
                )
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), _POLL_SECONDS)

    def _longest_silence(self) -> float:
        if not self._in_flight:
            return float("inf")
        largest = max(sum(ids.size for ids in inputs) for inputs in self._in_flight)
        return self._patience.answer_seconds + largest / self._patience.min_tokens_per_second
