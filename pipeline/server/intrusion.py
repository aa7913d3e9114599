"""What an embedding server answers to those who do not hold its key, route by route.

On a server that is open, many of its routes would do what they are for: end requests, release the
GPU's memory, load other weights. So a path is first asked with HEAD, which does none of this, and
with its own method only once that was refused.
"""

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import httpx
import orjson
from pydantic import SecretStr

from embed_index.pipeline.embedding.answers import ask
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.faults import unreachable
from embed_index.pipeline.embedding.preflight import check_access
from embed_index.pipeline.embedding.proven import ProvenTransport, UnprovenServerError
from embed_index.pipeline.server.gate import OPEN_PATHS
from embed_index.schemas.errors import ServerError

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_PATH = re.compile(r"/([!-.0-~][!-~]{0,1000})?")
"""Printable ASCII; what begins with two slashes is another host."""
_MAX_ROUTES = 2_000
"""SGLang has some 130."""
_PARAMETER = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Route:
    """One method on one path."""

    path: str
    method: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


HIDDEN_ROUTES = (
    Route(method="GET", path="/openapi.json"),
    Route(method="GET", path="/docs"),
    Route(method="GET", path="/docs/oauth2-redirect"),
    Route(method="GET", path="/redoc"),
    Route(method="POST", path="/tokenize"),
    Route(method="POST", path="/detokenize"),
    Route(method="GET", path="/metrics"),
)
"""What SGLang 0.5.23 serves and does not list; its WebSocket is `REALTIME_PATH`."""

REALTIME_PATH = "/v1/realtime"
_ALWAYS_TRIED = (
    *(Route(method="GET", path=path) for path in ("/health", "/health_generate", "/ready")),
    *(Route(method="GET", path=path) for path in ("/", "/v1/models", "/model_info")),
    Route(method="GET", path="/server_info"),
    Route(method="POST", path="/v1/embeddings"),
    Route(method="POST", path="/encode"),
)
"""Also tried where a server does not list its routes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRoutes:
    """Every route worth trying."""

    listed: tuple[Route, ...]
    """By the server itself; empty where it keeps its list to itself."""

    @property
    def all(self) -> tuple[Route, ...]:
        """The listed ones and those that are not, sorted by path; parameters are filled in."""
        return tuple(sorted({*self.listed, *HIDDEN_ROUTES, *_ALWAYS_TRIED}))


async def list_routes(endpoint: EmbeddingEndpoint, *, http: httpx.AsyncClient) -> ServerRoutes:
    """Ask a server for its routes, with the key.

    Raises:
        httpx.RequestError: It does not answer.
        ServerError: It lists what no server has.
    """
    response = await ask(http, "GET", "/openapi.json", headers=endpoint.bearer())
    if response.status_code != httpx.codes.OK:
        return ServerRoutes(listed=())
    try:
        paths = orjson.loads(response.content)["paths"]
        listed = [
            Route(method=method.upper(), path=_PARAMETER.sub("x", path))
            for path, methods in paths.items()
            for method in methods
            if method.upper() in _METHODS
        ]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return ServerRoutes(listed=())
    _refuse_impossible(listed, url=endpoint.url)
    return ServerRoutes(listed=tuple(listed))


def _refuse_impossible(listed: Sequence[Route], *, url: str) -> None:
    """Refuse routes that cannot be asked: another host's, or more than there is time for."""
    is_bad = not all(_PATH.fullmatch(route.path) for route in listed)
    if is_bad or len(listed) > _MAX_ROUTES:
        what = "a route that is none" if is_bad else f"{len(listed):,} routes"
        raise ServerError(
            f"The embedding server at {url} lists {what}.",
            remedy="Check the address: what answers there gives no honest account of itself.",
        )


_CLOSED = frozenset({401, 403, 404})
"""Refused, or nothing there."""
_ANSWER_SECONDS = 60.0
_MAX_AT_ONCE = 8
_REALTIME = Route(method="GET", path=REALTIME_PATH)
_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
_DISGUISE = {"Host": "x/health?"}
"""Servers that take the path from the Host header believe that this one asks for their health."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRoute:
    """A route that answers without the key."""

    route: Route
    how: str
    """What got in: `no key`, `wrong key`, `WebSocket` or `disguised path`."""
    status: int

    @property
    def is_expected(self) -> bool:
        """Whether SGLang leaves it open to everybody, for health checks and metrics."""
        return self.route.path in OPEN_PATHS


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessAudit:
    """What became of all attempts without the key; the right key was checked before."""

    url: str
    engine: str
    num_listed: int
    """Routes on the server's own list; 0 where it has none."""
    num_routes: int
    num_requests: int
    open_routes: tuple[OpenRoute, ...]

    @property
    def unexpected(self) -> tuple[OpenRoute, ...]:
        """Routes that should have asked for the key."""
        return tuple(found for found in self.open_routes if not found.is_expected)


async def audit_access(endpoint: EmbeddingEndpoint) -> AccessAudit:
    """Try every route without the key and with a wrong one, once the right one is proven.

    Raises:
        ServerError: The server does not answer, embeds for anybody, or refuses the key.
    """
    access = await check_access(endpoint)
    async with endpoint.http_client() as http:
        intruder = _Intruder(http)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                routes = await list_routes(endpoint, http=http)
            attempts = [intruder.try_route(route) for route in routes.all]
            attempts += [intruder.try_upgrade(), intruder.try_disguise()]
            found = await asyncio.gather(*attempts)
        except (httpx.RequestError, TimeoutError) as error:
            raise unreachable(endpoint, error=error) from error
    return AccessAudit(
        url=endpoint.url,
        engine=access.engine,
        num_listed=len(routes.listed),
        num_routes=len({*routes.all, _REALTIME}),
        num_requests=intruder.num_requests,
        open_routes=tuple(entry for entries in found for entry in entries),
    )


class _Intruder:
    """Somebody who does not hold the key."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._turn = asyncio.Semaphore(_MAX_AT_ONCE)
        self._ways: Mapping[str, Mapping[str, str]] = {
            "no key": {},
            "wrong key": {"Authorization": f"Bearer {secrets.token_urlsafe()}"},
        }
        self.num_requests = 0

    async def try_route(self, route: Route) -> list[OpenRoute]:
        """Return in which ways a route answers; the first one that does is enough."""
        harmless = Route(method="HEAD", path=route.path)
        for asked in (route,) if route.path in OPEN_PATHS else (harmless, route):
            for how, headers in self._ways.items():
                status = await self._status(asked, headers)
                if status not in _CLOSED:
                    return [OpenRoute(route=route, how=how, status=status)]
        return []

    async def try_upgrade(self) -> list[OpenRoute]:
        """Ask for a WebSocket, which is no request to those who guard requests alone."""
        status = await self._status(_REALTIME, _UPGRADE)
        if status != httpx.codes.SWITCHING_PROTOCOLS:
            return []
        return [OpenRoute(route=_REALTIME, how="WebSocket", status=status)]

    async def try_disguise(self) -> list[OpenRoute]:
        """Ask for a harmless protected route under another one's path."""
        route = Route(method="GET", path="/v1/models")
        status = await self._status(route, _DISGUISE)
        if status in _CLOSED | {httpx.codes.BAD_REQUEST}:
            return []
        return [OpenRoute(route=route, how="disguised path", status=status)]

    async def _status(self, route: Route, headers: Mapping[str, str]) -> int:
        async with self._turn:
            self.num_requests += 1
            request = self._http.build_request(route.method, route.path, headers=headers)
            # Only the answer's beginning: what follows an accepted upgrade never ends.
            async with asyncio.timeout(_ANSWER_SECONDS):
                response = await self._http.send(request, stream=True)
            await response.aclose()
        return response.status_code


_ANSWER_SECONDS = 10.0


async def takes_key(endpoint: EmbeddingEndpoint, *, key: SecretStr | None = None) -> bool | None:
    """Ask a protected route that does nothing; None where nobody answers it.

    Args:
        endpoint: The server; one of our own is asked once it has proven to know this key.
        key: What it is asked about; None for the endpoint's own.
    """
    asked = endpoint if key is None else replace(endpoint, key=key)
    async with endpoint.http_client() as http:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                response = await ask(http, "GET", "/v1/models", headers=asked.bearer())
        except UnprovenServerError as error:
            return False if error.has_other_key else None
        except (httpx.RequestError, TimeoutError):
            return None
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return False
    return True if response.status_code == httpx.codes.OK else None


async def knows_key(url: str, known: str) -> bool | None:
    """Ask a server of our own whether it takes a key, of which nobody here has more than this.

    Args:
        url: Where it serves.
        known: The key's fingerprint.

    Returns:
        None where nobody answers as a server of ours.
    """
    transport = ProvenTransport(known=known, limits=httpx.Limits())
    async with httpx.AsyncClient(
        transport=transport, base_url=url, timeout=_ANSWER_SECONDS
    ) as http:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await http.get("/ready")
        except UnprovenServerError as error:
            return False if error.has_other_key else None
        except (httpx.RequestError, TimeoutError):
            return None
    return True
