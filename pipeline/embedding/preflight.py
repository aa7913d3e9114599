"""What is asked of an embedding server before the first document is sent to it.

The three checks of the key (none, wrong, right) are made on the embeddings route itself: that is
the one that matters, and a server that proves to know a random key is ours.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import orjson

from embed_index.pipeline.embedding.answers import ask
from embed_index.pipeline.embedding.backoff import Backoff, retry_after_seconds
from embed_index.pipeline.embedding.description import (
    ServerDescription,
    describe_server,
    same_model,
)
from embed_index.pipeline.embedding.embedder import UNKNOWN
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.faults import (
    EMBEDDINGS_ROUTE,
    busy,
    not_refused,
    open_to_anybody,
    unexpected,
    unreachable,
)
from embed_index.pipeline.embedding.wire import (
    MalformedReplyError,
    ServerDialect,
    UnusableVectorError,
    decode_reply,
    encode_request,
    reply_tokens,
    reply_width,
)
from embed_index.schemas.errors import ConfigurationError, ServerError
from embed_index.schemas.records import TokenIds
from embed_index.schemas.waits import WAITS

_KEY_REFUSED = frozenset({401, 403})
_BUSY = frozenset({429, 503})
_PROBE = (np.zeros(1, dtype=np.int32),)
"""A single token 0, which every vocabulary has."""
_PROBE_TEXT = "a"
_ANSWER_SECONDS = 60.0
_PATIENCE = Backoff(max_attempts=6, max_ceiling_seconds=15.0, deadline_seconds=60.0)
"""With a busy server, or a proxy that limits how often it may be asked."""
_CONTEXT_MARGIN_TOKENS = 8
_MAX_NAMES = 4
_SAME_DIRECTION = 0.999
"""Cosine of a vector cut here and there; the precision of bfloat16 is in between."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAccess:
    """What a server that passed the checks says of itself."""

    models: tuple[str, ...]
    """Names and folders under which it knows its models; empty where it does not say."""
    served_name: str
    """What requests call the model."""
    width: int
    """Of the vectors, uncut."""
    dialect: ServerDialect
    max_input_tokens: int | None
    """Longest input; None where it does not say."""
    engine: str
    """Name and version, such as `sglang 0.5.23`; `unknown` where it does not say."""
    dtype: str
    """Precision of the weights, as the server was told; `unknown` where it does not say."""
    missing: tuple[str, ...]
    """In words, what it lacks that the pipeline would use."""


async def check_access(
    endpoint: EmbeddingEndpoint,
    *,
    expected_model: str | None = None,
    dimension: int | None = None,
    max_tokens: int | None = None,
    answer_seconds: float = _ANSWER_SECONDS,
    sleep: Sleep = asyncio.sleep,
) -> ServerAccess:
    """Check that a server asks for our key, serves our model, and can give our vectors.

    A server that says it is busy is asked again for a while; nothing else is retried: a preflight
    should fail at once.

    Args:
        endpoint: The server.
        expected_model: Name or folder of the job's model; None accepts any.
        dimension: Width that the job wants; None accepts any.
        max_tokens: Longest input of the job; None accepts any limit.
        answer_seconds: Time limit of each request.
        sleep: Waits between attempts.

    Raises:
        ServerError: The server does not answer, is open to anybody, or refuses the key.
        ConfigurationError: It serves another model, vectors that are too narrow, inputs that are
            too short, or takes no token ids.
    """
    async with endpoint.http_client() as http:
        asking = _Asking(endpoint, http=http, seconds=answer_seconds, sleep=sleep)
        await asking.refuse_the_open()
        description = describe_server(
            models=await asking.describe("/v1/models"),
            model_info=await asking.describe("/model_info"),
            server_info=await asking.describe("/server_info"),
            expected_model=expected_model,
        )
        _compare_description(
            description, url=endpoint.url, expected_model=expected_model, max_tokens=max_tokens
        )
        width, dialect = await asking.learn_dialect(
            description.served_name or endpoint.model, dimension=dimension
        )
    if dimension is not None and dimension > width:
        raise ConfigurationError(
            f"The job's dimension is {dimension}, and vectors of the embedding server at"
            f" {endpoint.url} have {width}.",
            remedy=f"Choose a dimension of at most {width}.",
        )
    return ServerAccess(
        models=description.models,
        served_name=description.served_name or endpoint.model,
        width=width,
        dialect=dialect,
        max_input_tokens=description.max_input_tokens,
        engine=description.engine or UNKNOWN,
        dtype=description.dtype or UNKNOWN,
        missing=_missing(description, dialect),
    )


async def served_models(
    endpoint: EmbeddingEndpoint, *, answer_seconds: float = _ANSWER_SECONDS
) -> tuple[str, ...]:
    """Return the names and folders under which a server knows its models; it is not checked.

    Raises:
        ServerError: The server does not answer.
    """
    async with endpoint.http_client() as http:
        asking = _Asking(endpoint, http=http, seconds=answer_seconds, sleep=asyncio.sleep)
        return describe_server(
            models=await asking.describe("/v1/models"),
            model_info=await asking.describe("/model_info"),
            server_info={},
            expected_model=None,
        ).models


class _Asking:
    """The requests of one preflight."""

    def __init__(
        self,
        endpoint: EmbeddingEndpoint,
        *,
        http: httpx.AsyncClient,
        seconds: float,
        sleep: Sleep,
    ) -> None:
        self._endpoint = endpoint
        self._http = http
        self._seconds = seconds
        self._sleep = sleep
        self._key = endpoint.bearer()
        self._has_answered = False

    async def refuse_the_open(self) -> None:
        """Send the probe without a key and with a wrong one; both must be refused."""
        wrong = {"Authorization": f"Bearer {secrets.token_urlsafe()}"}
        for what, headers in (("without a key", {}), ("with a wrong key", wrong)):
            response = await self._embed(_PROBE, model=self._endpoint.model, headers=headers)
            if response.status_code == httpx.codes.OK:
                raise open_to_anybody(response, endpoint=self._endpoint, what=what)
            if response.status_code not in _KEY_REFUSED:
                raise not_refused(response, endpoint=self._endpoint, what=what)

    async def learn_dialect(
        self, model: str, *, dimension: int | None
    ) -> tuple[int, ServerDialect]:
        """Send the probe with the key, in simpler words where it is refused.

        Returns:
            The width of uncut vectors, and how requests must be put.
        """
        response = await self._embed(_PROBE, model=model)
        takes_base64 = response.status_code == httpx.codes.OK
        if not takes_base64 and _is_refusal(response):
            simpler = await self._embed(_PROBE, model=model, base64=False)
            if simpler.status_code != httpx.codes.OK:
                await self._refuse_text_only(model)
            response = simpler if simpler.status_code == httpx.codes.OK else response
        if response.status_code != httpx.codes.OK:
            raise unexpected(response, endpoint=self._endpoint, what="for a test vector")
        try:
            width, num_tokens = reply_width(response.content), reply_tokens(response.content)
        except MalformedReplyError as error:
            raise ServerError(
                f"The embedding server at {self._endpoint.url} answers wrongly: {error}.",
                remedy="Check that the address is that of an OpenAI-compatible embeddings server.",
            ) from error
        if num_tokens is not None and num_tokens > 1:
            raise ConfigurationError(
                f"The embedding server at {self._endpoint.url} adds tokens of its own to token"
                f" ids: it counted {num_tokens} where 1 was sent.",
                remedy="Have it take token ids as they are; the vectors would be others than the"
                " model's.",
            )
        cuts = dimension is None or await self._cuts(
            min(dimension, width), uncut=response.content, model=model, base64=takes_base64
        )
        return width, ServerDialect(
            cuts=cuts, takes_base64=takes_base64, counts_tokens=num_tokens == 1
        )

    async def describe(self, route: str) -> dict[str, Any]:
        """Return what a route says in JSON; empty where the server has no such route."""
        response = await self._send("GET", route, headers=self._key)
        if response.status_code != httpx.codes.OK:
            return {}
        try:
            described = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            return {}
        return described if isinstance(described, dict) else {}

    async def _cuts(self, dimension: int, *, uncut: bytes, model: str, base64: bool) -> bool:
        """Tell whether vectors come at a width when asked for, and are what they are cut from."""
        response = await self._embed(_PROBE, model=model, dimension=dimension, base64=base64)
        if response.status_code != httpx.codes.OK:
            return False
        try:
            (cut,) = decode_reply(response.content, num_vectors=1, dimension=dimension)
            (beginning,) = decode_reply(uncut, num_vectors=1, dimension=dimension, cut=True)
        except (MalformedReplyError, UnusableVectorError):
            return False
        return float(cut @ beginning) >= _SAME_DIRECTION

    async def _refuse_text_only(self, model: str) -> None:
        """Raise where a text is embedded and token ids are not."""
        body = orjson.dumps({"input": [_PROBE_TEXT], "model": model})
        response = await self._post(body, headers=self._key)
        if response.status_code == httpx.codes.OK:
            raise ConfigurationError(
                f"The embedding server at {self._endpoint.url} embeds texts and refuses token ids.",
                remedy="Chunks are exact because their token ids are sent: a server that tokenises"
                " itself may cut them or leave out the end token unnoticed. Use SGLang, vLLM,"
                " Text Embeddings Inference or llama.cpp, which take token ids.",
            )

    async def _embed(
        self,
        token_ids: Sequence[TokenIds],
        *,
        model: str,
        headers: dict[str, str] | None = None,
        dimension: int | None = None,
        base64: bool = True,
    ) -> httpx.Response:
        body = encode_request(token_ids, model=model, dimension=dimension, base64=base64)
        return await self._post(body, headers=self._key if headers is None else headers)

    async def _post(self, body: bytes, *, headers: dict[str, str]) -> httpx.Response:
        headers = {**headers, "Content-Type": "application/json"}
        return await self._send("POST", EMBEDDINGS_ROUTE, headers=headers, body=body)

    async def _send(
        self, method: str, route: str, *, headers: dict[str, str], body: bytes | None = None
    ) -> httpx.Response:
        latest = self._seconds + _PATIENCE.deadline_seconds
        with WAITS.waiting_for(f"the embedding server at {self._endpoint.url}", seconds=latest):
            return await self._send_patiently(method, route, headers=headers, body=body)

    async def _send_patiently(
        self, method: str, route: str, *, headers: dict[str, str], body: bytes | None
    ) -> httpx.Response:
        began, num_failures = time.monotonic(), 0
        while True:
            try:
                # Of the whole answer: httpx would wait as long for each of its pieces.
                async with asyncio.timeout(self._seconds):
                    response = await ask(self._http, method, route, headers=headers, content=body)
            except TimeoutError as error:
                if self._has_answered:
                    raise busy(self._endpoint, seconds=self._seconds) from error
                raise unreachable(self._endpoint, error=error) from error
            except httpx.RequestError as error:
                raise unreachable(self._endpoint, error=error) from error
            self._has_answered = True
            if response.status_code not in _BUSY:
                return response
            num_failures += 1
            wanted = retry_after_seconds(
                response.headers.get("Retry-After", ""), now=datetime.now(UTC)
            )
            jitter = random.uniform(0.0, _PATIENCE.ceiling_seconds(num_failures))  # noqa: S311
            delay, failing = max(wanted, jitter), time.monotonic() - began
            if _PATIENCE.gives_up(num_failures, seconds_failing=failing, delay_seconds=delay):
                return response
            await self._sleep(delay)


def _is_refusal(response: httpx.Response) -> bool:
    """Tell whether other words may help: the key is right, and the server is not busy."""
    status = response.status_code
    return status >= httpx.codes.BAD_REQUEST and status not in (*_KEY_REFUSED, *_BUSY, 404)


def _compare_description(
    description: ServerDescription,
    *,
    url: str,
    expected_model: str | None,
    max_tokens: int | None,
) -> None:
    known = description.models if expected_model is not None else ()
    if known and not any(same_model(expected_model or "", name) for name in known):
        raise ConfigurationError(
            f"The embedding server at {url} serves {_listed(known)}, "
            f"and the job's model is {expected_model}.",
            remedy="Change the job's model, the server's address, or the name by which the server"
            " knows it (llama.cpp: --alias; SGLang, vLLM: --served-model-name).",
        )
    longest = description.max_input_tokens
    if longest is not None and max_tokens is not None and max_tokens > longest:
        raise ConfigurationError(
            f"The embedding server at {url} takes inputs of at most {longest:,} tokens, and this"
            f" job needs {max_tokens:,}.",
            remedy="Give it a context and a pool of at least"
            f" {max_tokens + _CONTEXT_MARGIN_TOKENS} tokens (SGLang: --context-length,"
            " --max-total-tokens or --mem-fraction-static; llama.cpp: --ctx-size), or lower the"
            " job's max_tokens.",
        )


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_MAX_NAMES])
    return f"{shown} and others" if len(names) > _MAX_NAMES else shown


def _missing(description: ServerDescription, dialect: ServerDialect) -> tuple[str, ...]:
    features = {
        "its model's name (the vectors' width is compared)": bool(description.models),
        "its longest input": description.max_input_tokens is not None,
        "its version": description.engine is not None,
        "cutting vectors to a dimension (done here)": dialect.cuts,
        "base64 (vectors come as numbers, at several times the bytes)": dialect.takes_base64,
        "token counts (an input that it cuts goes unnoticed)": dialect.counts_tokens,
    }
    return tuple(feature for feature, there in features.items() if not there)
