"""A managed server that is started again when it crashes, hangs or runs out of memory.

What was in flight is sent again. Each of those requests is a suspect and goes alone, so that an
innocent one is not blamed; one that is alone with two dead servers is refused, which has
`batch_isolation` halve it until the chunk at fault stands alone. Where none ever is, the servers
die of something else, such as the size of requests, and that ends after some of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

from embed_index.pipeline.embedding.client import EmbeddingClient
from embed_index.pipeline.embedding.embedder import Embedder, RequestRefusedError
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.server.life import Patience, ServerLife, ServerProcess
from embed_index.pipeline.server.suspects import Suspects, Turnstile
from embed_index.schemas.errors import ContractError, EmbedIndexError, ServerError
from embed_index.schemas.records import TokenIds, Vectors

Launch: TypeAlias = Callable[[], ServerProcess]
Connect: TypeAlias = Callable[[ServerProcess, ServerAccess], EmbeddingClient]
Prove: TypeAlias = Callable[[Embedder, ServerAccess], Awaitable[None]]
Tell: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """How often and how soon a server is started again."""

    max_deaths: int = 5
    """Without an answer in between; steps towards a chunk at fault do not count."""
    max_unexplained: int = 16
    """Of all servers of a run, with answers in between and no chunk at fault. To find one chunk of
    512 takes twelve."""
    first_pause_seconds: float = 1.0
    max_pause_seconds: float = 60.0

    def pause_seconds(self, num_deaths: int) -> float:
        """Return how long to wait before the next start."""
        doublings = min(max(num_deaths - 1, 0), 32)
        return min(self.max_pause_seconds, self.first_pause_seconds * 2.0**doublings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """What every life of a server must be like."""

    dimension: int
    connect: Connect
    prove: Prove
    """Raises where the server gives other vectors than those before it."""
    patience: Patience
    tell: Tell
    suspects: Suspects
    """Shared by all servers of a run."""
    policy: RestartPolicy = RestartPolicy()


class SupervisedEmbedder:
    """Embeds on one managed server, through as many lives as it takes.

    async with SupervisedEmbedder(launch, supervision) as embedder:
        access = await embedder.wait_ready()
    """

    def __init__(self, launch: Launch, supervision: Supervision) -> None:
        self._launch = launch
        self._supervision = supervision
        self._turnstile = Turnstile()
        self._server: ServerProcess | None = None
        self._resources = AsyncExitStack()
        self._serving: ServerLife | None = None
        self._next: asyncio.Future[ServerLife] = asyncio.get_running_loop().create_future()
        self._supervising: asyncio.Task[None] | None = None
        self._num_deaths = 0

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._supervising is not None:
            self._supervising.cancel()
            await asyncio.gather(self._supervising, return_exceptions=True)
        self._next.cancel()
        if self._server is not None and kind is asyncio.CancelledError:
            # Nobody waits for what is in flight any more.
            self._server.kill()
        await self._resources.aclose()
        if self._server is not None:
            await self._server.stop()

    async def wait_ready(self) -> ServerAccess:
        """Wait for the first life; a server that does not even start once is not started again.

        Raises:
            EmbedIndexError: It ended, failed a check or its proof.
        """
        life, access = await self._open_life()
        self._enter(life)
        self._supervising = asyncio.create_task(self._supervise(life))
        self._supervising.add_done_callback(self._pass_on)
        return access

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        """Embed, on another life of the server if need be.

        Raises:
            RequestRefusedError: An input is unusable, or the server dies of it.
            ServerError: The server died too often, and nothing was answered in between.
        """
        suspects = self._supervision.suspects
        alone = suspects.include(token_ids)
        while True:
            if suspects.convict(token_ids):
                raise _kills_server()
            async with self._turnstile.pass_through(alone=alone):
                life = await asyncio.shield(self._next)
                try:
                    vectors = await life.embed(token_ids, dimension=dimension)
                except ServerError:
                    self._leave(life)
                    if alone:
                        suspects.strike(token_ids)
                        if len(token_ids) > 1:
                            raise _kills_server() from None
                else:
                    self._num_deaths = 0
                    suspects.clear(token_ids)
                    return vectors
            alone = True

    def _enter(self, life: ServerLife) -> None:
        self._serving = life
        self._next.set_result(life)

    def _leave(self, life: ServerLife) -> None:
        """Have everybody wait for the next life; whoever notices the end first does it."""
        if self._serving is life:
            self._serving = None
            self._next = asyncio.get_running_loop().create_future()

    async def _supervise(self, life: ServerLife) -> None:
        while True:
            failure = await life.wait_until_over()
            self._supervision.suspects.note_death()
            if life.num_inputs_alone <= 1:
                self._num_deaths += 1
            self._leave(life)
            await self._close_life()
            life = await self._restart(failure)
            self._enter(life)

    async def _restart(self, failure: EmbedIndexError) -> ServerLife:
        policy = self._supervision.policy
        num_unexplained = self._supervision.suspects.num_unexplained
        if num_unexplained > policy.max_unexplained:
            raise ServerError(
                f"The embedding server died {num_unexplained} times with answers in between, and no"
                f" chunk is at fault; last: {failure.message}",
                remedy="It may lack memory for that many tokens at once: lower --batch-tokens or"
                " --max-in-flight. Then run again: nothing done is lost.",
            ) from failure
        while self._num_deaths <= policy.max_deaths:
            self._supervision.tell(
                f"{failure.message.splitlines()[0]} It is started again"
                f"{_nth(num_unexplained, policy.max_unexplained)}."
            )
            await asyncio.sleep(policy.pause_seconds(self._num_deaths))
            try:
                self._start()
                life, _ = await self._open_life()
            except ContractError:
                raise
            except EmbedIndexError as error:
                # Its settings were right once: a port, a disk or memory that is taken becomes free.
                failure = error
                self._num_deaths += 1
                await self._close_life()
            else:
                return life
        raise ServerError(
            f"The embedding server failed {self._num_deaths} times without an answer in between; "
            f"last: {failure.message}",
            remedy=f"{failure.remedy} Then run again: nothing done is lost.".strip(),
        ) from failure

    def _start(self) -> None:
        self._server = self._launch()
        self._server.start()

    async def _open_life(self) -> tuple[ServerLife, ServerAccess]:
        server = self._server
        assert server is not None
        supervision = self._supervision
        access = await server.wait_ready(dimension=supervision.dimension)
        client = await self._resources.enter_async_context(supervision.connect(server, access))
        life = await self._resources.enter_async_context(
            ServerLife(server, client, patience=supervision.patience)
        )
        await supervision.prove(life, access)
        return life, access

    async def _close_life(self) -> None:
        """Leave nothing of the server; one that hangs is past politeness."""
        await self._resources.aclose()
        self._resources = AsyncExitStack()
        if self._server is not None:
            await asyncio.to_thread(self._server.kill)

    def _pass_on(self, supervising: asyncio.Task[None]) -> None:
        """Fail those who wait for a next life that never comes."""
        if supervising.cancelled() or (error := supervising.exception()) is None:
            return
        self._next.set_exception(error)
        # Perhaps nobody waits any more.
        self._next.exception()


def _nth(num_unexplained: int, most: int) -> str:
    """Say how often it died, once that is no accident any more."""
    if num_unexplained <= most // 2:
        return ""
    return f", for the {num_unexplained}th time of at most {most}"


def _kills_server() -> RequestRefusedError:
    return RequestRefusedError(
        "kills_server", detail="the embedding server ends or hangs whenever it is sent this input"
    )
