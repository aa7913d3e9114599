"""The routes of an embedding server: those that it lists itself, and those that it hides."""

import re
from dataclasses import dataclass

import httpx
import orjson

from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint

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
    """
    response = await http.get("/openapi.json", headers=endpoint.bearer())
    if response.status_code != httpx.codes.OK:
        return ServerRoutes(listed=())
    try:
        paths = orjson.loads(response.content)["paths"]
        listed = [
            Route(method=method.upper(), path=_PARAMETER.sub("x", path))
            for path, methods in paths.items()
            for method in methods
        ]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return ServerRoutes(listed=())
    return ServerRoutes(listed=tuple(listed))
