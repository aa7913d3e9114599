"""The embedding servers of a command: ones that we start and own, or ones somebody else runs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from embed_index.pipeline.embedding.backoff import Backoff
from embed_index.pipeline.embedding.client import (
    SLOWEST_TOKENS_PER_SECOND,
    ClientLimits,
    EmbeddingClient,
)
from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.preflight import ServerAccess, check_access
from embed_index.pipeline.model.files import ModelFiles
from embed_index.pipeline.server.life import OutOfSight, Patience, ServerLife
from embed_index.pipeline.server.supervision import Launch, Prove, SupervisedEmbedder, Supervision
from embed_index.pipeline.server.suspects import Suspects
from embed_index.schemas.limits import MAX_CONTEXT_TOKENS
from embed_index.schemas.records import TokenIds, Vectors


async def _no_proof(_embedder: Embedder, _access: ServerAccess) -> None:
    """Accept any server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    """What a command asks of its servers."""

    model: ModelFiles
    dimension: int
    max_tokens: int
    answer_seconds: float
    """For one request on an otherwise idle server."""
    min_tokens_per_second: float = SLOWEST_TOKENS_PER_SECOND
    """Slowest server to wait for; a request may take as much longer as its tokens need."""
    prove: Prove = _no_proof
    """Called with every server before its use, restarted ones included; raises to refuse it."""
    away_seconds: float = 300.0
    """For which a server that somebody else runs may be away, such as for a restart."""
    tell: Callable[[str], None] = lambda _: None
    """Called with a sentence for people: a server is started again, or lacks a feature."""
    canary_ids: tuple[TokenIds, ...] = ()
    """Inputs whose vectors tell one model from another, for servers that are proven far from us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingService:
    """Servers that passed all checks, seen as one."""

    embedder: Embedder
    access: ServerAccess
    """Of the first; the others serve the same."""


@asynccontextmanager
async def managed_service(
    launches: Sequence[Launch], *, request: EmbeddingRequest
) -> AsyncIterator[EmbeddingService]:
    """Start servers and wait until all embed; leaving the context leaves nothing of them behind.

    Each is started again when it fails; see `supervision`.

    Raises:
        ConfigurationError: Model, port or a flag is unusable.
        ServerError: One does not start, or does not guard its key.
    """
    supervision = Supervision(
        dimension=request.dimension,
        connect=lambda server, access: _client(server.endpoint, request=request, access=access),
        prove=request.prove,
        patience=_patience(request),
        tell=request.tell,
        suspects=Suspects(),
    )
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(SupervisedEmbedder(launch, supervision))
            for launch in launches
        ]
        async with asyncio.TaskGroup() as group:
            ready = [group.create_task(server.wait_ready()) for server in servers]
        yield EmbeddingService(embedder=EmbedderPool(servers), access=ready[0].result())


@asynccontextmanager
async def external_service(
    endpoints: Sequence[EmbeddingEndpoint], *, request: EmbeddingRequest
) -> AsyncIterator[EmbeddingService]:
    """Check servers that are running already.

    Raises:
        ServerError: One does not answer, refuses the key, or answers without one. Later, `embed`
            raises it when one with work to do falls silent.
        ConfigurationError: One serves another model or narrower vectors.
    """
    async with AsyncExitStack() as stack:
        lives: list[ServerLife] = []
        accesses: list[ServerAccess] = []
        for given in endpoints:
            access = await check_access(
                given,
                expected_model=request.model.location,
                dimension=request.dimension,
                max_tokens=request.max_tokens,
            )
            endpoint = replace(given, model=access.served_name)
            _tell_weaknesses(endpoint, access=access, tell=request.tell)
            # It takes longer inputs than the command is sure to have, as far as it says.
            longest = access.max_input_tokens or MAX_CONTEXT_TOKENS
            client = await stack.enter_async_context(
                _client(
                    endpoint,
                    request=replace(request, max_tokens=max(request.max_tokens, longest)),
                    access=access,
                    tell=request.tell,
                )
            )
            life = ServerLife(
                OutOfSight(), client, patience=_patience(request, away=request.away_seconds)
            )
            lives.append(await stack.enter_async_context(life))
            accesses.append(access)
            await request.prove(life, access)
        yield EmbeddingService(embedder=EmbedderPool(lives), access=accesses[0])


def _patience(request: EmbeddingRequest, *, away: float = 0.0) -> Patience:
    return Patience(
        answer_seconds=request.answer_seconds + away,
        min_tokens_per_second=request.min_tokens_per_second,
    )


def _client(
    endpoint: EmbeddingEndpoint,
    *,
    request: EmbeddingRequest,
    access: ServerAccess,
    tell: Callable[[str], None] = lambda _: None,
) -> EmbeddingClient:
    return EmbeddingClient(
        endpoint,
        limits=ClientLimits(
            vocab_size=request.model.vocab_size,
            max_tokens=request.max_tokens,
            answer_seconds=request.answer_seconds,
            min_tokens_per_second=request.min_tokens_per_second,
        ),
        retry=Backoff(deadline_seconds=request.away_seconds),
        dialect=access.dialect,
        tell=tell,
    )


def _tell_weaknesses(
    endpoint: EmbeddingEndpoint, *, access: ServerAccess, tell: Callable[[str], None]
) -> None:
    if access.missing:
        tell(
            f"The embedding server at {endpoint.url} can be used, and lacks: "
            f"{'; '.join(access.missing)}."
        )
    if endpoint.is_clear_text:
        tell(
            f"The key and all texts go to {endpoint.url} unencrypted; use https unless the network"
            " between is yours alone."
        )


class EmbedderPool:
    """Spreads requests over embedders by the tokens that each has in flight.

    A server that is being restarted keeps what it was given; with as many requests in flight as
    there are servers times what one needs, the others stay busy meanwhile. One that is gone for
    good fails its requests, and with them the run: half the speed is for people to choose.
    """

    def __init__(self, embedders: Sequence[Embedder]) -> None:
        if not embedders:
            raise ValueError("a pool needs an embedder")
        self._embedders = tuple(embedders)
        self._tokens_in_flight = [0] * len(embedders)

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        """Embed on the least busy server; raises what that one raises."""
        place = self._tokens_in_flight.index(min(self._tokens_in_flight))
        num_tokens = sum(ids.size for ids in token_ids)
        self._tokens_in_flight[place] += num_tokens
        try:
            return await self._embedders[place].embed(token_ids, dimension=dimension)
        finally:
            self._tokens_in_flight[place] -= num_tokens
