"""Our lock behind SGLang's: what it lets through, whatever stands in front of it."""

from typing import Any

import pytest

from embed_index.pipeline.server.gate import OPEN_PATHS, KeyGate, Message

KEY = "ei-0123456789"
RIGHT = (b"authorization", f"Bearer {KEY}".encode())


async def receive_nothing() -> Message:
    raise AssertionError("the gate reads no body")


async def through_gate(scope: dict[str, Any]) -> tuple[bool, list[Message]]:
    """Whether the application behind the gate was reached, and what the gate itself sent."""
    reached = False
    sent: list[Message] = []

    async def application(*_: object) -> None:
        nonlocal reached
        reached = True

    async def send(message: Message) -> None:
        sent.append(message)

    await KeyGate(application, key=KEY)(scope, receive_nothing, send)
    return reached, sent


def request(path: str, *headers: tuple[bytes, bytes], method: str = "GET") -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "headers": list(headers)}


@pytest.mark.parametrize(
    "scope",
    [
        request("/v1/embeddings", RIGHT, method="POST"),
        request("/server_info", (b"authorization", f"bEaReR {KEY}".encode())),
        *(request(path) for path in sorted(OPEN_PATHS)),
        {"type": "lifespan"},
    ],
    ids=str,
)
async def test_the_key_and_the_open_paths_pass(scope: dict[str, Any]) -> None:
    assert await through_gate(scope) == (True, [])


@pytest.mark.parametrize(
    "scope",
    [
        request("/server_info"),
        request("/server_info", method="OPTIONS"),
        request("/server_info", (b"host", b"x/health?")),
        request("/healthy"),
        request("/health/../server_info"),
        request("/metrics/x"),
        request("/server_info", (b"authorization", b"Bearer")),
        request("/server_info", (b"authorization", b"Bearer ")),
        request("/server_info", (b"authorization", f"Basic {KEY}".encode())),
        request("/server_info", (b"authorization", f"Bearer {KEY}x".encode())),
        request("/server_info", (b"authorization", f"Bearer {KEY[:-1]}".encode())),
        request("/server_info", (b"authorization", "Bearer schlüssel".encode())),
        request("/server_info", (b"x-api-key", KEY.encode())),
        request("/server_info", (b"authorization", b"Bearer wrong"), RIGHT),
    ],
    ids=str,
)
async def test_everything_else_is_unauthorised(scope: dict[str, Any]) -> None:
    reached, (start, body) = await through_gate(scope)

    assert not reached
    assert start["status"] == 401
    assert body["body"] == b'{"error":"Unauthorized"}'


async def test_no_websocket_passes_with_or_without_the_key() -> None:
    scope = {"type": "websocket", "path": "/v1/realtime", "headers": [RIGHT]}

    assert await through_gate(scope) == (False, [{"type": "websocket.close", "code": 1008}])
