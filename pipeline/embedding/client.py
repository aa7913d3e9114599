"""Token ids in, unit vectors out, over HTTP to an embedding server.

What the server answers decides what becomes of a request:

    200 with usable vectors                    returned
    200 with a malformed reply                 sent again a few times, then ServerError
    200 with NaN or zero vectors               RequestRefusedError that names the inputs; a single
                                               input is sent once more before
    200 for other tokens than were sent        RequestRefusedError: an input is too long for it
    400, 413, 422                              RequestRefusedError: one of the inputs is at fault
    401, 403, redirects, other 4xx             ServerError at once
    408, 424, 429, 5xx, dropped, no answer     sent again until the policy gives up: ServerError

A server that is away, or behind a proxy that says so, is waited for until the policy's deadline;
one that answers with a failure again and again is given up sooner.

Replies of a server that refuses repeat the input, so nothing of their text is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import NoReturn, Self

import httpx
import numpy as np

from embed_index.pipeline.embedding.answers import OversizedAnswerError, ask
from embed_index.pipeline.embedding.backoff import Backoff, retry_after_seconds
from embed_index.pipeline.embedding.embedder import RequestRefusedError
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.failures import Failures, Outage, TransientError
from embed_index.pipeline.embedding.wire import (
    AlteredInputError,
    MalformedReplyError,
    ServerDialect,
    UnusableVectorError,
    decode_reply,
    encode_request,
)
from embed_index.schemas.errors import ServerError
from embed_index.schemas.records import TokenIds, Vectors

SLOWEST_TOKENS_PER_SECOND = 20.0
"""A 0.6B model on a laptop."""

_ANSWER_BYTES = 1024 * 1024
_VECTOR_BYTES = 512 * 1024
"""Of the widest vectors, uncut, in JSON with all digits: several times what any model has."""
_DEFAULT_RETRY = Backoff()
_FULL_DIALECT = ServerDialect()
_MAX_BAD_REPLIES = 3
_MAX_UNUSABLE_VECTORS = 2
"""Of an input alone. One of several is known by its place, and is sent alone next."""
_REFUSED = frozenset({400, 413, 422})
_KEY_REFUSED = frozenset({401, 403})
_TRY_AGAIN = frozenset({408, 424, 429})
"""Text Embeddings Inference answers 424 where its model failed, as when memory ran out."""
_AWAY = frozenset({429, 502, 503, 504})
_DROPPED = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """What may be sent, and how long an answer may take."""

    vocab_size: int
    """SGLang dies of an id at or above it."""
    max_tokens: int
    """Per input; SGLang hangs on an input longer than its pool."""
    answer_seconds: float = 60.0
    """For an empty server; the tokens in flight come on top."""
    min_tokens_per_second: float = SLOWEST_TOKENS_PER_SECOND
    """Slowest server to wait for."""


class EmbeddingClient:
    """One keep-alive connection pool to one server; safe to share between tasks."""

    def __init__(
        self,
        endpoint: EmbeddingEndpoint,
        *,
        limits: ClientLimits,
        retry: Backoff = _DEFAULT_RETRY,
        dialect: ServerDialect = _FULL_DIALECT,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare the pool; nothing is sent yet.

        Args:
            endpoint: The server.
            limits: What may be sent, and how long an answer may take.
            retry: When to give up on a server that fails.
            dialect: How requests are put.
            sleep: Waits between attempts.
            tell: Called with a sentence for people when the server stays away, and when it is back.
        """
        self._endpoint = endpoint
        self._limits = limits
        self._retry = retry
        self._dialect = dialect
        self._sleep = sleep
        self._outage = Outage(endpoint.url, deadline_seconds=retry.deadline_seconds, tell=tell)
        self._http = endpoint.http_client()
        self._headers = {**endpoint.bearer(), "Content-Type": "application/json"}
        self._tokens_in_flight = 0

    def __repr__(self) -> str:
        return f"EmbeddingClient({self._endpoint.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        """Return unit vectors of shape (number of inputs, dimension), in the inputs' order.

        Args:
            token_ids: One array per input, instruction and end token included.
            dimension: Width of the vectors.

        Raises:
            RequestRefusedError: An input is unusable, here or in the server's judgement.
            ServerError: The server cannot be used, or does not recover in time.
        """
        inputs = [np.ascontiguousarray(ids, dtype=np.int32) for ids in token_ids]
        if not inputs:
            return np.empty((0, dimension), dtype=np.float32)
        flaws = {
            place: flaw
            for place, ids in enumerate(inputs)
            if (flaw := self._find_flaw(ids)) is not None
        }
        for flaw in flaws.values():
            flaw.places = tuple(flaws)
            raise flaw
        num_tokens = sum(ids.size for ids in inputs)
        body = encode_request(
            inputs,
            model=self._endpoint.model,
            dimension=dimension if self._dialect.cuts else None,
            base64=self._dialect.takes_base64,
        )
        self._tokens_in_flight += num_tokens
        try:
            return await self._embed_body(
                body, num_vectors=len(inputs), num_tokens=num_tokens, dimension=dimension
            )
        finally:
            self._tokens_in_flight -= num_tokens

    def _find_flaw(self, ids: TokenIds) -> RequestRefusedError | None:
        """Return why an input would kill or hang the server, and is not sent."""
        limits = self._limits
        if ids.ndim != 1 or ids.size == 0:
            return RequestRefusedError("no_tokens", detail="the input has no tokens")
        if ids.size > limits.max_tokens:
            return RequestRefusedError(
                "too_many_tokens", detail=f"{ids.size} tokens, more than {limits.max_tokens}"
            )
        # Seen as unsigned, a negative id is above every vocabulary.
        if ids.view(np.uint32).max() >= limits.vocab_size:
            return RequestRefusedError(
                "token_out_of_range", detail="a token id is outside the model's vocabulary"
            )
        return None

    async def _embed_body(
        self, body: bytes, *, num_vectors: int, num_tokens: int, dimension: int
    ) -> Vectors:
        failures = Failures(
            self._endpoint.url, policy=self._retry, sleep=self._sleep, outage=self._outage
        )
        num_malformed = num_unusable = 0
        while True:
            try:
                reply = await self._post(body, num_vectors=num_vectors)
                self._outage.end()
                return decode_reply(
                    reply,
                    num_vectors=num_vectors,
                    dimension=dimension,
                    cut=not self._dialect.cuts,
                    num_tokens=num_tokens if self._dialect.counts_tokens else None,
                )
            except TransientError as failure:
                await failures.wait(failure)
            except AlteredInputError as error:
                raise RequestRefusedError("altered_input", detail=str(error)) from error
            except UnusableVectorError as error:
                num_unusable += 1
                if num_vectors > 1 or num_unusable >= _MAX_UNUSABLE_VECTORS:
                    raise RequestRefusedError(
                        "unusable_vector", detail=str(error), places=error.places
                    ) from error
            except MalformedReplyError as error:
                num_malformed += 1
                if num_malformed >= _MAX_BAD_REPLIES:
                    raise ServerError(
                        f"The embedding server at {self._endpoint.url} keeps answering wrongly:"
                        f" {error}.",
                        remedy="Check that it serves the model and dimension of the job.",
                    ) from error

    async def _post(self, body: bytes, *, num_vectors: int) -> bytes:
        limits = self._limits
        seconds = limits.answer_seconds + self._tokens_in_flight / limits.min_tokens_per_second
        try:
            async with asyncio.timeout(seconds):
                response = await ask(
                    self._http,
                    "POST",
                    "/v1/embeddings",
                    headers=self._headers,
                    content=body,
                    max_bytes=_ANSWER_BYTES + num_vectors * _VECTOR_BYTES,
                )
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TransientError(f"no answer within {seconds:.0f} s") from error
        except _DROPPED as error:
            raise TransientError("the connection was dropped", dropped=True) from error
        except OversizedAnswerError as error:
            raise TransientError(f"an answer of {error}", answered=True) from error
        except httpx.DecodingError as error:
            raise TransientError("an answer that cannot be decompressed", answered=True) from error
        except httpx.TransportError as error:
            raise TransientError(f"no connection ({error})") from error
        if response.status_code != httpx.codes.OK:
            self._raise_for_status(response)
        return response.content

    def _raise_for_status(self, response: httpx.Response) -> NoReturn:
        status = response.status_code
        if status in _REFUSED:
            raise RequestRefusedError(
                f"refused_{status}", detail=f"the embedding server answered with status {status}"
            )
        if status in _TRY_AGAIN or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise TransientError(
                f"status {status}",
                answered=status not in _AWAY,
                wait_seconds=retry_after_seconds(
                    response.headers.get("Retry-After", ""), now=datetime.now(UTC)
                ),
            )
        url = self._endpoint.url
        if status in _KEY_REFUSED:
            raise ServerError(
                f"The embedding server at {url} refused the key (status {status}).",
                remedy="Check that EMBEDDING_API_KEY is this server's key.",
            )
        raise ServerError(
            f"The embedding server at {url} answered /v1/embeddings with status {status}.",
            remedy="Check that the address is that of an OpenAI-compatible embeddings server.",
        )
