"""Spreads batches over the workers of a cluster, whichever has room, and outlives any of them.

A batch whose worker is lost goes to another one: equal ids get equal vectors, so it does not matter
whether it was embedded. A worker whose server cannot be used is left out with its node and reason.
The run fails when no worker is left, or the head of the cluster is silent.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import NoReturn, Self

from embed_index.pipeline.cluster.aside import aside
from embed_index.pipeline.cluster.connection import ClusterNode
from embed_index.pipeline.cluster.order import Refused, Unusable
from embed_index.pipeline.cluster.remote import Remote, WorkerLostError
from embed_index.pipeline.cluster.seat import (
    PAUSE_SECONDS,
    ClusterLimits,
    Seat,
    SeatEmbedder,
    until_placed,
)
from embed_index.pipeline.embedding.embedder import RequestRefusedError
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.server.supervision import Prove, Tell
from embed_index.schemas.errors import ConfigurationError, EmbedIndexError, ServerError
from embed_index.schemas.records import TokenIds, Vectors

_MAX_DEATHS = 5
"""Of one worker without an answer in between."""
_MAX_REASONS = 4
_LOOK_SECONDS = 2.0
_SILENCE_SECONDS = 45.0
"""Of the head. After 60 Ray ends this process without a word."""


class ClusterEmbedder:
    """Embeds on whatever workers there are.

    async with ClusterEmbedder(...) as embedder:
        access = await embedder.wait_ready()
    """

    def __init__(
        self,
        *,
        limits: ClusterLimits,
        hire: Callable[[ClusterNode], Remote],
        list_nodes: Callable[[], list[ClusterNode]],
        prove: Prove,
        tell: Tell,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            limits: How the cluster is used.
            hire: Has a worker placed on a node.
            list_nodes: Returns all nodes, dead ones too; called in a thread, where it may block.
            prove: Raises where a worker gives other vectors than those before it.
            tell: Called with a sentence for people.
        """
        self._limits = limits
        self._hire = hire
        self._list_nodes = list_nodes
        self._prove = prove
        self._tell = tell
        self._seats: list[Seat] = []
        self._known: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Condition()
        self._failure: Exception | None = None
        self._access: ServerAccess | None = None
        self.num_sent_again = 0
        """Batches whose worker was lost."""
        self.is_head_lost = False
        """Whether nothing can be asked of Ray any more."""

    async def __aenter__(self) -> Self:
        self._attend(self._watch_nodes())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.is_head_lost:
            return
        politely = kind is None
        if politely:
            self._tell_account()
        await asyncio.gather(
            *(seat.remote.end(politely=politely and seat.is_ready) for seat in self._seats),
            return_exceptions=True,
        )

    async def wait_ready(self) -> ServerAccess:
        """Wait for the first worker; others join when they are ready.

        Raises:
            EmbedIndexError: No worker can be used.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._access or self._failure)
        if self._access is None:
            self._raise()
        return self._access

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        """Embed on the least busy worker with room, and on another one if that is lost.

        Raises:
            RequestRefusedError: An input is unusable, or the server dies of it.
            EmbedIndexError: No worker is left.
        """
        batch = list(token_ids)
        while True:
            seat = await self._room(num_tokens=sum(ids.size for ids in batch))
            try:
                answer = await self._embed_at(seat, batch, dimension=dimension)
            except WorkerLostError as error:
                self.num_sent_again += 1
                self._lose(seat, error)
                continue
            if isinstance(answer, Refused):
                raise answer.as_error()
            if isinstance(answer, Unusable):
                self.num_sent_again += 1
                await self._leave_out(seat, answer.as_error())
                continue
            return answer

    def workers(self) -> list[tuple[str, int]]:
        """Return nodes whose workers embed at this moment, each with the tokens it has embedded."""
        return [(seat.node.name, seat.num_tokens) for seat in self._seats if seat.is_ready]

    def _tell_account(self) -> None:
        """Say what each node embedded, and how fast while it was there."""
        for name in dict.fromkeys(seat.node.name for seat in self._seats):
            seats = [seat for seat in self._seats if seat.node.name == name and seat.num_tokens]
            if seats:
                num_tokens = sum(seat.num_tokens for seat in seats)
                rate = sum(seat.num_tokens / max(seat.seconds(), 1e-9) for seat in seats)
                self._tell(f"{name}: {num_tokens:,} tokens, {rate:,.0f} tokens/s.")
        if self.num_sent_again:
            self._tell(f"{self.num_sent_again:,} batches were sent again.")

    async def _room(self, *, num_tokens: int) -> Seat:
        """Take a place at a worker."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._failure or self._with_room())
            if self._failure is not None:
                self._raise()
            seat = min(self._with_room(), key=lambda seat: seat.tokens_in_flight)
            seat.num_in_flight += 1
            seat.tokens_in_flight += num_tokens
            return seat

    def _with_room(self) -> list[Seat]:
        most = self._limits.max_in_flight
        return [seat for seat in self._seats if seat.is_ready and seat.num_in_flight < most]

    async def _embed_at(
        self, seat: Seat, batch: list[TokenIds], *, dimension: int
    ) -> Vectors | Refused | Unusable:
        num_tokens = sum(ids.size for ids in batch)
        try:
            answer = await seat.remote.embed(batch, dimension=dimension)
        finally:
            seat.num_in_flight -= 1
            seat.tokens_in_flight -= num_tokens
            async with self._changed:
                self._changed.notify_all()
        seat.num_deaths = 0
        seat.num_tokens += num_tokens
        return answer

    def _lose(self, seat: Seat, error: WorkerLostError) -> None:
        """Have nobody send anything there until it was asked again; the first to notice does it."""
        if seat.is_ready:
            seat.is_ready = False
            seat.num_deaths += 1
            self._tell(
                f"The worker on {seat.node.name} was lost ({error.said}); what was in flight there"
                " is sent again."
            )
            seat.lost.set()

    async def _watch_nodes(self) -> None:
        """Find nodes that join, and notice a head that is gone."""
        while True:
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    nodes = await aside(self._list_nodes)
            except TimeoutError:
                self.is_head_lost = True
                await self._fail(
                    ServerError(
                        "The head of the Ray cluster has not answered for"
                        f" {_SILENCE_SECONDS:.0f} s.",
                        remedy="Start the cluster again, then run again: nothing done is lost.",
                    )
                )
                return
            for node in nodes:
                if node.is_alive and node.id not in self._known:
                    self._known.add(node.id)
                    for _ in range(self._limits.num_workers(node)):
                        seat = Seat(node, self._hire(node))
                        self._seats.append(seat)
                        self._attend(self._keep(seat))
            if not self._seats:
                await self._fail(self._no_room(nodes))
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _keep(self, seat: Seat) -> None:
        """See a worker through its lives, until it is left out."""
        while seat.failure is None:
            try:
                await self._be_placed(seat)
                answer = await seat.remote.start()
                if isinstance(answer, Unusable):
                    raise answer.as_error()
                await self._prove(SeatEmbedder(seat), answer.access)
            except WorkerLostError as error:
                if error.for_good:
                    await self._leave_out(seat, ServerError(error.said))
                    break
                seat.num_deaths += 1
            except RequestRefusedError as error:
                await self._leave_out(seat, ServerError(f"it refuses the canaries: {error.detail}"))
                break
            except EmbedIndexError as error:
                await self._leave_out(seat, error)
                break
            else:
                await self._enter(seat, answer.access)
                await seat.lost.wait()
            if seat.num_deaths >= _MAX_DEATHS:
                died = f"its worker died {seat.num_deaths} times without an answer in between"
                await self._leave_out(seat, ServerError(died))
            await asyncio.sleep(PAUSE_SECONDS * seat.num_deaths)
        await seat.remote.end(politely=False)

    async def _be_placed(self, seat: Seat) -> None:
        """Wait for a worker; one for which Ray finds no place for long is not counted on."""
        waiting = asyncio.ensure_future(until_placed(seat.remote))
        try:
            done, _ = await asyncio.wait({waiting}, timeout=self._limits.placing_seconds)
            if not done:
                said = await aside(seat.remote.describe_wait)
                message = (
                    f"Ray has placed no worker there for {self._limits.placing_seconds:.0f} s"
                    f" ({said})"
                )
                await self._leave_out(seat, ServerError(message, remedy="See `ray status`."))
            await waiting
            seat.failure = None
        finally:
            waiting.cancel()

    async def _enter(self, seat: Seat, access: ServerAccess) -> None:
        if self._access is not None:
            self._tell(f"{seat.node.name} embeds now, too.")
        seat.lost.clear()
        seat.is_ready = True
        async with self._changed:
            self._access = self._access or access
            self._changed.notify_all()

    async def _leave_out(self, seat: Seat, error: EmbedIndexError) -> None:
        if seat.failure is not None:
            return
        seat.is_ready = False
        seat.failure = error
        seat.lost.set()
        words = _first_line(error)
        self._tell(f"{seat.node.name} is left out: {words}. {error.remedy}".rstrip())
        failures = [one.failure for one in self._seats if one.failure is not None]
        if len(failures) == len(self._seats):
            await self._fail(self._none_left(failures))
        async with self._changed:
            self._changed.notify_all()

    def _none_left(self, failures: Sequence[EmbedIndexError]) -> EmbedIndexError:
        reasons = {
            f"{seat.node.name}: {_first_line(failure)}": failure.remedy
            for seat, failure in zip(self._seats, failures, strict=True)
        }
        told = "; ".join(list(reasons)[-_MAX_REASONS:])
        wrong = all(isinstance(failure, ConfigurationError) for failure in failures)
        kind = ConfigurationError if wrong else ServerError
        return kind(
            f"No node of the Ray cluster embeds. {told}",
            remedy=next(filter(None, reasons.values()), "")
            or "See `ray status`, then run again: nothing done is lost.",
        )

    def _no_room(self, nodes: Sequence[ClusterNode]) -> EmbedIndexError:
        alive = [node for node in nodes if node.is_alive]
        wanted = "a GPU" if self._limits.on_gpu else f"{self._limits.num_cpus} cores"
        there = ", ".join(f"{node.name}: {node.num_cpus} cores" for node in alive[:_MAX_REASONS])
        return ConfigurationError(
            f"No node of the Ray cluster has {wanted} for a worker ({there}).",
            remedy="Start nodes with GPUs, or set --ray-cpus to what a node has.",
        )

    async def _fail(self, error: Exception) -> None:
        async with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _raise(self) -> NoReturn:
        assert self._failure is not None
        if isinstance(self._failure, EmbedIndexError):
            raise type(self._failure)(self._failure.message, remedy=self._failure.remedy)
        raise self._failure

    def _attend(self, work: Coroutine[None, None, None]) -> None:
        async def attended() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - whoever waits for it raises it
                await self._fail(error)

        self._tasks.append(asyncio.create_task(attended()))


def _first_line(error: EmbedIndexError) -> str:
    """Return a reason without the lines of a server's log that may follow it."""
    return error.message.partition("\n")[0].rstrip(".")
