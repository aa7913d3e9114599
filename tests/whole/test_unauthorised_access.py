"""Every route of the real server, tried by those who do not hold its key."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from sglang_fixtures import RunningServer

from embed_index.pipeline.server.gate import OPEN_PATHS
from embed_index.pipeline.server.intrusion import REALTIME_PATH, Route, list_routes

LEFT_OPEN = {"/health", "/health_generate", "/ready"}
"""Without --enable-metrics; with it, /metrics too. Their answers are empty."""

UNAUTHORISED = b'{"error":"Unauthorized"}'
CRASHED = b"Internal Server Error"
"""SGLang's fixed answer to a token that is not ASCII, which it cannot compare."""

Headers = list[tuple[bytes, bytes]]


def ways(key: str) -> dict[str, Headers]:
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
        "disguised path": [(b"Host", b"x/health?")],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    route: Route
    way: str
    headers: Headers

    def expected(self) -> tuple[int, bytes]:
        """The only answer that gives nothing away."""
        if self.route.path in LEFT_OPEN and self.route.method == "GET":
            return 200, b""
        if self.route.path in OPEN_PATHS:
            status, body = (405, b'{"detail":"Method Not Allowed"}')
            if self.route.path not in LEFT_OPEN:
                status, body = (404, b'{"detail":"Not Found"}')
        elif self.way == "non-ASCII key" and self.route.method != "OPTIONS":
            status, body = (500, CRASHED)
        else:
            status, body = (401, UNAUTHORISED)
        return status, b"" if self.route.method == "HEAD" else body


def attempts(routes: tuple[Route, ...], key: str) -> Iterator[Attempt]:
    paths = {route.path for route in routes} | {REALTIME_PATH}
    of_each_path = [Route(method=m, path=p) for p in paths for m in ("GET", "HEAD", "OPTIONS")]
    for route in sorted({*routes, *of_each_path}):
        for way, headers in ways(key).items():
            yield Attempt(route=route, way=way, headers=headers)


@pytest.mark.timeout(600)
async def test_no_route_answers_with_content_to_those_without_the_key(
    sglang_server: RunningServer,
) -> None:
    server = sglang_server.server
    key = server.key.get_secret_value()
    turn = asyncio.Semaphore(16)

    async def send(attempt: Attempt) -> tuple[int, bytes]:
        async with turn:
            response = await http.request(
                attempt.route.method, attempt.route.path, headers=attempt.headers, timeout=120
            )
        return response.status_code, response.content

    # SGLang drops the connection on which it crashed.
    fresh = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=server.url, limits=fresh, trust_env=False) as http:
        routes = await list_routes(server.endpoint, http=http)
        made = list(attempts(routes.all, key))
        answers = await asyncio.gather(*map(send, made))

    unexpected = [
        (str(attempt.route), attempt.way, answer)
        for attempt, answer in zip(made, answers, strict=True)
        if answer != attempt.expected()
    ]
    assert unexpected == []
    assert len(routes.listed) > 80
    assert server.is_alive()
    assert key not in server.log_path.read_text(errors="replace")
    assert len(made) > 2_500
