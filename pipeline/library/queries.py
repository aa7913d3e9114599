"""Texts of queries to vectors that a collection version can be searched with.

Each version has its own prompt, tokenizer, dimension and canaries. A server is proven by all of
them before the first query of a version, and again once it has failed. Later the shortest one goes
with a request every few seconds, because a server may be replaced under its address.
"""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from embed_index.pipeline.embedding.canaries import MAX_CANARY_TOKENS, CanaryGate
from embed_index.pipeline.embedding.embedder import Embedder, RequestRefusedError
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.library.loop import LoopThread
from embed_index.pipeline.library.servers import QueryServers
from embed_index.pipeline.milvus.versions import LiveVersion
from embed_index.pipeline.model.files import ModelFiles
from embed_index.pipeline.model.tokenizer import ModelTokenizer, instruction_prompt
from embed_index.pipeline.server.query_scope import MAX_INPUTS
from embed_index.pipeline.server.service import EmbeddingRequest, EmbeddingService
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ContractError, QueryError, ServerError
from embed_index.schemas.limits import MAX_CONTEXT_TOKENS
from embed_index.schemas.records import TokenIds, Vectors
from embed_index.schemas.waits import WAITS

_MAX_OPEN_VERSIONS = 4
"""An alias that goes to and fro must not have its server proven each time."""
_MAX_REQUESTS_IN_FLIGHT = 8
_MAX_TOKENS_PER_REQUEST = 8_192
"""What, with `MAX_INPUTS`, a key for queries may ask at once; a longer query goes alone."""
_PROOF_SECONDS = 5.0
"""A server takes longer to start, so that within it there is no other at its address."""
_AWAY_SECONDS = 10.0
"""Somebody waits for the answer, so a server that is away is not waited for as at night."""


@dataclass(slots=True, kw_only=True)
class _Proven:
    """A version's tokenizer and its proven server."""

    tokenizer: ModelTokenizer
    max_tokens: int
    """Longest query that the model sees."""
    gate: CanaryGate
    service: EmbeddingService
    at: float
    """When, on the monotonic clock."""


@dataclass(slots=True, kw_only=True)
class _OpenVersion:
    """A proven server, kept open by a task of its own."""

    task: "asyncio.Task[None]"
    opened: "asyncio.Future[_Proven]"
    is_over: asyncio.Event

    async def end(self) -> None:
        """Let go of the server; raise what went wrong with that."""
        self.is_over.set()
        if not self.opened.done():
            self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


class QueryEmbedder:
    """Embeds queries for any version; safe to share by threads."""

    def __init__(self, servers: QueryServers) -> None:
        self._servers = servers
        self._lock = threading.Lock()
        self._loop: LoopThread | None = None
        self._open: OrderedDict[LiveVersion, _OpenVersion] = OrderedDict()

    def embed(
        self, texts: Sequence[str], *, version: LiveVersion, instruction: str | None = None
    ) -> Vectors:
        """Return unit vectors of shape (texts, the version's dimension), in order.

        Args:
            texts: What is searched for, without a prompt.
            version: Whose contract they are put by.
            instruction: A task instead of the contract's; empty for none.

        Raises:
            QueryError: A text is empty, not UTF-8 or too long.
            ContractError: The server, or the model at hand, is not the collection's.
            UnavailableError: The server cannot be used.
        """
        for text in texts:
            check_query(text)
        prompt = version.contract.query_prompt
        if instruction is not None:
            prompt = instruction_prompt(instruction)
        loop = self._running()
        proven = loop.run(self._opened(version))
        ids = [proven.tokenizer.encode_for_model(prompt + text) for text in texts]
        for place, query in enumerate(ids):
            _check_length(query, limit=proven.max_tokens, place=place, num_queries=len(ids))
        try:
            return loop.run(self._embed(proven, ids, version=version))
        except (ServerError, ContractError):
            # A server that is started again may be another one, and is proven like one.
            loop.run(self._close(version))
            raise

    def close(self) -> None:
        """Let go of all servers."""
        with self._lock:
            loop = self._loop
        if loop is None:
            return
        try:
            loop.run(self._close_all())
        finally:
            loop.close()

    def _running(self) -> LoopThread:
        with self._lock:
            if self._loop is None:
                self._loop = LoopThread()
            return self._loop

    async def _opened(self, version: LiveVersion) -> _Proven:
        entry = self._open.get(version)
        if entry is None:
            opened = asyncio.get_running_loop().create_future()
            is_over = asyncio.Event()
            task = asyncio.create_task(self._keep_open(version, opened, is_over))
            entry = _OpenVersion(task=task, opened=opened, is_over=is_over)
            self._open[version] = entry
            while len(self._open) > _MAX_OPEN_VERSIONS:
                _, oldest = self._open.popitem(last=False)
                oldest.is_over.set()
        self._open.move_to_end(version)
        # Several may wait for it, and one that gives up must not take it from the others.
        return await asyncio.shield(entry.opened)

    async def _close(self, version: LiveVersion) -> None:
        entry = self._open.pop(version, None)
        if entry is not None:
            await entry.end()

    async def _close_all(self) -> None:
        entries = list(self._open.values())
        self._open.clear()
        await asyncio.gather(*(entry.end() for entry in entries))

    async def _keep_open(
        self,
        version: LiveVersion,
        opened: "asyncio.Future[_Proven]",
        is_over: asyncio.Event,
    ) -> None:
        """Hold a version's server from its proof until it is not needed any more."""
        contract = version.contract
        try:
            model = await self._servers.find_model(contract)
            tokenizer = await asyncio.to_thread(self._load_tokenizer, model, contract)
            gate = CanaryGate(
                tokenizer,
                contract=contract,
                version=version.name,
                quantization=model.quantization,
                mixed_precision=self._servers.mixed_precision,
            )

            async def prove(embedder: Embedder, access: ServerAccess) -> None:
                await gate.prove(embedder, access)

            request = EmbeddingRequest(
                model=model,
                dimension=contract.dimension,
                max_tokens=MAX_CANARY_TOKENS,
                answer_seconds=self._servers.answer_seconds,
                away_seconds=_AWAY_SECONDS,
                prove=prove,
            )
            async with self._servers.open_service(request) as service:
                opened.set_result(
                    _Proven(
                        tokenizer=tokenizer,
                        max_tokens=min(MAX_CONTEXT_TOKENS, model.max_positions),
                        gate=gate,
                        service=service,
                        at=time.monotonic(),
                    )
                )
                await is_over.wait()
        except BaseException as error:
            self._forget(version, opened)
            if opened.done():
                raise
            if isinstance(error, asyncio.CancelledError):
                opened.cancel()
                raise
            opened.set_exception(error)
            # Nobody may be left to hear of it.
            opened.exception()

    def _load_tokenizer(self, model: ModelFiles, contract: CollectionContract) -> ModelTokenizer:
        """Return the model's tokenizer, ready for use, if both are the collection's."""
        if model.revision == contract.model_revision:
            tokenizer = ModelTokenizer.load(model, cache=self._servers.tokenizers)
            if tokenizer.fingerprint == contract.tokenizer_fingerprint:
                # Its first text has it read an engine, which must not hold up other versions.
                tokenizer.encode("")
                return tokenizer
        raise ContractError(
            f"{model.location} at {model.revision} is not the collection's model, which is"
            f" {contract.model} at {contract.model_revision}",
            remedy="Give the collection's own model with --model and --revision.",
        )

    def _forget(self, version: LiveVersion, opened: "asyncio.Future[Any]") -> None:
        entry = self._open.get(version)
        if entry is not None and entry.opened is opened:
            del self._open[version]

    async def _embed(
        self, proven: _Proven, ids: Sequence[TokenIds], *, version: LiveVersion
    ) -> Vectors:
        contract = version.contract
        now = time.monotonic()
        canary = None
        if now - proven.at > _PROOF_SECONDS and contract.canaries:
            canary = min(contract.canaries, key=lambda one: len(one.text))
            ids = [*ids, proven.tokenizer.encode_for_model(canary.text)]
        vectors = await self._embed_all(proven.service, ids, dimension=contract.dimension)
        if canary is None:
            return vectors
        proven.gate.check_again(canary.text, vectors[-1])
        proven.at = now
        return vectors[:-1]

    async def _embed_all(
        self, service: EmbeddingService, ids: Sequence[TokenIds], *, dimension: int
    ) -> Vectors:
        room = asyncio.Semaphore(_MAX_REQUESTS_IN_FLIGHT)

        async def embed(queries: Sequence[TokenIds]) -> Vectors:
            async with room:
                return await _embed_or_explain(service, queries, dimension=dimension)

        batches = list(_batches(ids))
        if len(batches) == 1:
            return await embed(batches[0])
        tasks = [asyncio.create_task(embed(batch)) for batch in batches]
        try:
            return np.concatenate(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()


def check_query(text: object) -> None:
    """Refuse what says nothing or cannot be said.

    Raises:
        QueryError: The text is empty, not UTF-8 or no text.
    """
    if not isinstance(text, str):
        raise QueryError(
            f"a query is a text, not {type(text).__name__}", remedy="Give it as a string."
        )
    if not text or text.isspace():
        raise QueryError("the query is empty", remedy="Give the text to search for, in quotes.")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise QueryError(
            "the query is not UTF-8", remedy="Give it in UTF-8, or set LANG to what it is in."
        )


def _check_length(query: TokenIds, *, limit: int, place: int, num_queries: int) -> None:
    if query.size > limit:
        which = "the query" if num_queries == 1 else f"query {place + 1} of {num_queries}"
        raise QueryError(
            f"{which} has {query.size:,} tokens, and the model sees {limit:,}",
            remedy="Search with a shorter text.",
        )


def _batches(ids: Sequence[TokenIds]) -> Iterator[Sequence[TokenIds]]:
    """Group queries, in order, into requests; a longer one goes alone."""
    batch: list[TokenIds] = []
    num_tokens = 0
    for query in ids:
        is_full = num_tokens + query.size > _MAX_TOKENS_PER_REQUEST or len(batch) == MAX_INPUTS
        if batch and is_full:
            yield batch
            batch, num_tokens = [], 0
        batch.append(query)
        num_tokens += query.size
    if batch:
        yield batch


async def _embed_or_explain(
    service: EmbeddingService, queries: Sequence[TokenIds], *, dimension: int
) -> Vectors:
    try:
        with WAITS.waiting_for("the embedding server"):
            return await service.embedder.embed(queries, dimension=dimension)
    except RequestRefusedError as refusal:
        longest = max(query.size for query in queries)
        limit = service.access.max_input_tokens
        if limit is not None and longest > limit:
            raise QueryError(
                f"a query has {longest:,} tokens, and the embedding server takes {limit:,}",
                remedy="Search with a shorter text, or start the server with a longer context.",
            ) from refusal
        raise QueryError(
            f"the embedding server refuses a query ({refusal.detail})",
            remedy="See its log; a shorter text may do.",
        ) from refusal
