"""What is asked of an embedding server before the first document is sent to it.

The three checks of the key (none, wrong, right) are made on the embeddings route itself: that is
the one that matters, and a server that proves to know a random key is ours.
"""

import secrets
import ssl
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NoReturn

import httpx
import numpy as np
import orjson

from embed_index.pipeline.embedding_endpoint import EmbeddingEndpoint
from embed_index.pipeline.vectors import MalformedReplyError, encode_request, reply_width
from embed_index.schemas.errors import ConfigurationError, ServerError

_KEY_REFUSED = frozenset({401, 403})
_PROBE = (np.zeros(1, dtype=np.int32),)
"""A single token 0, which every vocabulary has."""
_MAX_REASON_CHARS = 200
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAccess:
    """What a server that passed the checks says of itself."""

    models: tuple[str, ...]
    """Names and folders under which it knows its model; empty where it does not say."""
    width: int
    """Of the vectors, uncut."""
    server_cuts: bool
    """Whether it cuts vectors to the dimension asked for."""
    max_input_tokens: int | None
    """Longest input; None where it does not say."""
    engine: str
    """Name and version, such as `sglang 0.5.23`; `unknown` where it does not say."""
    missing: tuple[str, ...]
    """In words, what it lacks that the pipeline would use."""


async def check_access(
    endpoint: EmbeddingEndpoint,
    *,
    expected_model: str | None = None,
    dimension: int | None = None,
    answer_seconds: float = _ANSWER_SECONDS,
) -> ServerAccess:
    """Check that a server asks for our key, serves our model, and can give our dimension.

    Nothing is retried: a preflight should fail at once.

    Args:
        endpoint: The server.
        expected_model: Name or folder of the job's model; None accepts any.
        dimension: Width that the job wants; None accepts any.
        answer_seconds: Time limit of each request.

    Raises:
        ServerError: The server does not answer, is open to anybody, or refuses the key.
        ConfigurationError: It serves another model, or vectors that are too narrow.
    """
    async with endpoint.http_client() as http:
        asking = _Asking(endpoint, http=http, seconds=answer_seconds)
        width = await asking.width_by_key()
        model_info = await asking.describe("/model_info")
        models = await asking.describe("/v1/models")
        server_info = await asking.describe("/server_info")
        server_cuts = dimension is None or await asking.cuts(min(dimension, width))
    access = _access(
        width=width,
        server_cuts=server_cuts,
        model_info=model_info,
        listed=_first_model(models),
        server_info=server_info,
    )
    _compare(access, url=endpoint.url, expected_model=expected_model, dimension=dimension)
    return access


def same_model(expected: str, named: str) -> bool:
    """Tell whether two names or folders mean one model.

    The last part decides, since a server may know `Qwen/Qwen3-Embedding-4B` by its folder; in the
    hub's cache that is the folder above the snapshots.
    """
    return _last_part(expected) == _last_part(named)


def _last_part(model: str) -> str:
    parts = PurePosixPath(model.rstrip("/")).parts
    cached = [part for part in parts if part.startswith("models--")]
    name = cached[-1].split("--")[-1] if cached else (parts[-1] if parts else "")
    return name.casefold()


class _Asking:
    """The requests of one preflight."""

    def __init__(
        self, endpoint: EmbeddingEndpoint, *, http: httpx.AsyncClient, seconds: float
    ) -> None:
        self._endpoint = endpoint
        self._http = http
        self._timeout = httpx.Timeout(seconds)
        self._key = endpoint.bearer()

    async def width_by_key(self) -> int:
        """Send the probe without key, with a wrong one, and with the right one.

        Returns:
            The width of uncut vectors, which only the right key obtains.
        """
        url = self._endpoint.url
        wrong = {"Authorization": f"Bearer {secrets.token_urlsafe()}"}
        for what, headers in (("without a key", {}), ("with a wrong key", wrong)):
            status = (await self._embed(headers)).status_code
            if status == httpx.codes.OK:
                raise ServerError(
                    f"The embedding server at {url} answers requests {what}.",
                    remedy="Start it with an API key, or close the proxy in front of it.",
                )
            if status not in _KEY_REFUSED:
                raise ServerError(
                    f"The embedding server at {url} answered status {status} to a request {what}, "
                    "where 401 was due.",
                    remedy="Check the address: another program may be answering there.",
                )
        response = await self._embed(self._key)
        if response.status_code in _KEY_REFUSED:
            raise ServerError(
                f"The embedding server at {url} refuses the key (status {response.status_code}).",
                remedy="Check that EMBEDDING_API_KEY is this server's key.",
            )
        if response.status_code != httpx.codes.OK:
            self._raise_for_probe(response)
        try:
            return reply_width(response.content)
        except MalformedReplyError as error:
            raise ServerError(
                f"The embedding server at {self._endpoint.url} answers wrongly: {error}.",
                remedy="Check that the address is that of an OpenAI-compatible embeddings server.",
            ) from error

    async def cuts(self, dimension: int) -> bool:
        """Tell whether vectors come at `dimension` when asked for."""
        response = await self._embed(self._key, dimension=dimension)
        if response.status_code != httpx.codes.OK:
            return False
        try:
            return reply_width(response.content) == dimension
        except MalformedReplyError:
            return False

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

    async def _embed(
        self, headers: dict[str, str], *, dimension: int | None = None
    ) -> httpx.Response:
        body = encode_request(_PROBE, model=self._endpoint.model, dimension=dimension)
        headers = {**headers, "Content-Type": "application/json"}
        return await self._send("POST", "/v1/embeddings", headers=headers, body=body)

    async def _send(
        self, method: str, route: str, *, headers: dict[str, str], body: bytes | None = None
    ) -> httpx.Response:
        try:
            return await self._http.request(
                method, route, headers=headers, content=body, timeout=self._timeout
            )
        except httpx.TransportError as error:
            raise unreachable(self._endpoint.url, error=error) from error

    def _raise_for_probe(self, response: httpx.Response) -> NoReturn:
        raise ServerError(
            f"The embedding server at {self._endpoint.url} answered status "
            f"{response.status_code} to a test request{self._reason(response)}.",
            remedy="Check the server's log, and that it serves embeddings.",
        )

    def _reason(self, response: httpx.Response) -> str:
        """Return the server's own words; the probe holds no document that they could repeat."""
        try:
            message = orjson.loads(response.content)["message"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return ""
        words = " ".join(str(message).split())[:_MAX_REASON_CHARS]
        return ": " + words.replace(self._endpoint.key.get_secret_value(), "<redacted>")


def unreachable(url: str, *, error: httpx.TransportError) -> ServerError:
    """Return an error that names the cause: name lookup, certificate, timeout, no connection."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return ServerError(
            f"The certificate of the embedding server at {url} is not trusted.",
            remedy="Install its authority in the system's store or name it in SSL_CERT_FILE.",
        )
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return ServerError(
            f"The embedding server at {url} does not speak TLS as expected.",
            remedy="Check whether the address should begin with http:// or https://.",
        )
    if any(type(cause).__name__ == "gaierror" for cause in causes):
        return ServerError(
            f"The host name in {url} is not known.",
            remedy="Check EMBEDDING_API_BASE and the name resolution of this host.",
        )
    if isinstance(error, httpx.TimeoutException):
        return ServerError(
            f"The embedding server at {url} does not answer in time.",
            remedy="Check that it is running and not overloaded.",
        )
    return ServerError(
        f"The embedding server at {url} cannot be reached.",
        remedy="Check that it is running, and the address and port.",
    )


def _first_model(listed: dict[str, Any]) -> dict[str, Any]:
    models = listed.get("data")
    first = models[0] if isinstance(models, list) and models else {}
    return first if isinstance(first, dict) else {}


def _access(
    *,
    width: int,
    server_cuts: bool,
    model_info: dict[str, Any],
    listed: dict[str, Any],
    server_info: dict[str, Any],
) -> ServerAccess:
    names = (
        *(model_info.get(field) for field in ("model_path", "served_model_name")),
        *(listed.get(field) for field in ("id", "root")),
    )
    models = tuple(dict.fromkeys(name for name in names if isinstance(name, str)))
    context = listed.get("max_model_len")
    max_input = context - 1 if isinstance(context, int) else None
    version = server_info.get("version")
    missing = {
        "its model's name": bool(models),
        "its longest input": max_input is not None,
        "its version": isinstance(version, str),
        "cutting vectors to a dimension (done here instead)": server_cuts,
    }
    return ServerAccess(
        models=models,
        width=width,
        server_cuts=server_cuts,
        max_input_tokens=max_input,
        engine=f"sglang {version}" if isinstance(version, str) else "unknown",
        missing=tuple(feature for feature, there in missing.items() if not there),
    )


def _compare(
    access: ServerAccess, *, url: str, expected_model: str | None, dimension: int | None
) -> None:
    known = access.models if expected_model is not None else ()
    if known and not any(same_model(expected_model or "", name) for name in known):
        raise ConfigurationError(
            f"The embedding server at {url} serves {known[0]}, "
            f"and the job's model is {expected_model}.",
            remedy="Change the job's model or the server's address.",
        )
    if dimension is not None and dimension > access.width:
        raise ConfigurationError(
            f"The job's dimension is {dimension}, and vectors of the embedding server at {url} "
            f"have {access.width}.",
            remedy=f"Choose a dimension of at most {access.width}.",
        )
