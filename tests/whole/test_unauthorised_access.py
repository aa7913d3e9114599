"""Every route of the real server, tried without its key and with keys that open little."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest
from pydantic import SecretStr
from sglang_fixtures import RunningServer

from embed_index.pipeline.secrecy.keyring import Keyring, hash_key
from embed_index.pipeline.server.gate import OPEN_PATHS
from embed_index.pipeline.server.intrusion import REALTIME_PATH, Route, list_routes

LEFT_OPEN = {"/health", "/health_generate", "/ready"}
"""Without --enable-metrics; with it, /metrics too. Their answers are empty."""

UNAUTHORISED = b'{"error":"Unauthorized"}'
TOO_MANY = b'{"error":"too many requests for this key"}'
BEYOND = b'{"error":"this key opens POST /v1/embeddings and GET /v1/models alone"}'
QUERIES, ONCE = SecretStr("ei-for-queries-alone"), SecretStr("ei-once-a-minute")

Headers = list[tuple[bytes, bytes]]


def ways(key: str, *, inner_key: str) -> dict[str, Headers]:
    """How somebody might try who does not present the key as he must."""
    right = key.encode()
    return {
        "no key": [],
        "wrong key": [(b"Authorization", b"Bearer wrong")],
        "almost the key": [(b"Authorization", b"Bearer " + right[:-1])],
        "empty key": [(b"Authorization", b"Bearer")],
        "non-ASCII key": [(b"Authorization", "Bearer schlüssel".encode())],
        "basic": [(b"Authorization", b"Basic " + right)],
        "x-api-key": [(b"x-api-key", right)],
        "SGLang's own key": [(b"Authorization", b"Bearer " + inner_key.encode())],
        "disguised path": [(b"Host", b"x/health?")],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    route: Route
    way: str
    headers: Headers

    def expected(self, status: int, body: bytes) -> tuple[int, bytes]:
        """The only answer that gives nothing away: the gate's, but on the open paths."""
        if self.route.path in LEFT_OPEN and self.route.method == "GET":
            return 200, b""
        if self.route.path in OPEN_PATHS:
            status, body = (405, b'{"detail":"Method Not Allowed"}')
            if self.route.path not in LEFT_OPEN:
                status, body = (404, b'{"detail":"Not Found"}')
        return status, b"" if self.route.method == "HEAD" else body


def attempts(routes: tuple[Route, ...], ways: dict[str, Headers]) -> Iterator[Attempt]:
    paths = {route.path for route in routes} | {REALTIME_PATH}
    of_each_path = [Route(method=m, path=p) for p in paths for m in ("GET", "HEAD", "OPTIONS")]
    for route in sorted({*routes, *of_each_path}):
        for way, headers in ways.items():
            yield Attempt(route=route, way=way, headers=headers)


@pytest.fixture
async def http(sglang_server: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    url = sglang_server.server.url
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=120) as client:
        yield client


async def answers(
    http: httpx.AsyncClient, made: list[Attempt]
) -> list[tuple[Attempt, tuple[int, bytes]]]:
    turn = asyncio.Semaphore(16)

    async def send(attempt: Attempt) -> tuple[Attempt, tuple[int, bytes]]:
        async with turn:
            response = await http.request(
                attempt.route.method, attempt.route.path, headers=attempt.headers
            )
        return attempt, (response.status_code, response.content)

    return await asyncio.gather(*map(send, made))


@pytest.mark.timeout(600)
async def test_no_route_answers_with_content_to_those_without_the_key(
    sglang_server: RunningServer, http: httpx.AsyncClient
) -> None:
    server = sglang_server.server
    key = server.key.get_secret_value()
    routes = await list_routes(server.endpoint, http=http)
    told = await http.get("/server_info", headers=server.endpoint.bearer())
    tried = ways(key, inner_key=told.json()["api_key"])

    made = list(attempts(routes.all, tried))
    unexpected = [
        (str(attempt.route), attempt.way, answer)
        for attempt, answer in await answers(http, made)
        if answer != attempt.expected(401, UNAUTHORISED)
    ]

    assert unexpected == []
    assert len(routes.listed) > 80
    assert server.is_alive()
    log = server.log_path.read_text(errors="replace")
    assert key not in log
    assert told.json()["api_key"] not in log
    assert len(made) > 2_500


@pytest.mark.timeout(600)
async def test_a_key_opens_on_no_route_more_than_its_scope_and_its_rate(
    sglang_server: RunningServer, http: httpx.AsyncClient
) -> None:
    server = sglang_server.server
    routes = await list_routes(server.endpoint, http=http)
    keys = (
        hash_key(QUERIES, name="queries", query_only=True),
        hash_key(ONCE, name="once", per_minute=1),
    )
    server.take_keys(Keyring(hashed=keys, secrets=(QUERIES, ONCE)))
    bearer = {
        key.get_secret_value(): [(b"Authorization", b"Bearer " + key.get_secret_value().encode())]
        for key in (QUERIES, ONCE)
    }
    # The second of two finds its rate used up.
    models = [await http.get("/v1/models", headers=bearer[ONCE.get_secret_value()])]
    async with asyncio.timeout(60):
        while models[-1].status_code == httpx.codes.UNAUTHORIZED:
            models.append(await http.get("/v1/models", headers=bearer[ONCE.get_secret_value()]))
    beyond = {QUERIES.get_secret_value(): (403, BEYOND), ONCE.get_secret_value(): (429, TOO_MANY)}
    opened = {"GET /v1/models", "POST /v1/embeddings"}

    made = list(attempts(routes.all, bearer))
    try:
        unexpected = {
            (str(attempt.route), attempt.way, answer[0])
            for attempt, answer in await answers(http, made)
            if answer != attempt.expected(*beyond[attempt.way])
        }
    finally:
        server.take_keys(Keyring())

    assert models[-1].status_code == httpx.codes.OK
    assert unexpected == {
        ("GET /v1/models", QUERIES.get_secret_value(), 200),
        ("POST /v1/embeddings", QUERIES.get_secret_value(), 400),
    }
    assert {route for route, *_ in unexpected} == opened
    assert server.is_alive()
    assert len(made) > 600
