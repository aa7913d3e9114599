"""Our lock behind SGLang's: what it lets through, whatever stands in front of it."""

import hashlib
import hmac
from typing import Any

import pytest
from pydantic import SecretStr

from embed_index.pipeline.secrecy.keyring import hash_key
from embed_index.pipeline.server.admission import Admission
from embed_index.pipeline.server.gate import OPEN_PATHS, KeyGate, Message

KEY = "ei-0123456789"
RIGHT = (b"authorization", f"Bearer {KEY}".encode())


async def receive_nothing() -> Message:
    raise AssertionError("the gate reads no body")


async def through_gate(scope: dict[str, Any]) -> tuple[bool, list[Message]]:
    """Whether the application behind the gate was reached, and what the gate itself sent."""
    reached: list[Message] = []
    sent: list[Message] = []

    async def application(scope: Message, *_: object) -> None:
        reached.append(scope)

    async def send(message: Message) -> None:
        sent.append(message)

    admission = Admission([hash_key(SecretStr(KEY), name="key")])
    gate = KeyGate(application, admission=admission, inner_key="ei-inner")
    await gate(scope, receive_nothing, send)
    assert not [told for told in reached if KEY in str(told)]
    return bool(reached), sent


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


NONCE = "0123456789abcdef" * 4
ENDS = {"client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 30_000)}
ASKED = (b"x-embed-index-nonce", NONCE.encode())


async def test_whoever_asks_is_told_that_the_server_knows_the_key() -> None:
    scope = request("/", ASKED, method="OPTIONS") | ENDS

    reached, (start, body) = await through_gate(scope)

    text = f"embed-index server\n{NONCE}\n127.0.0.1 50000\n127.0.0.1 30000"
    assert not reached
    assert start["status"] == 200
    known = hashlib.sha256(b"embed-index server\n" + KEY.encode()).hexdigest()
    assert body["body"].decode() == hmac.new(known.encode(), text.encode(), "sha256").hexdigest()


@pytest.mark.parametrize(
    "scope",
    [
        request("/", ASKED, method="OPTIONS"),
        request("/", ASKED, method="OPTIONS") | ENDS | {"client": None},
        request("/", ASKED, method="GET") | ENDS,
        request("/", ASKED, ASKED, method="OPTIONS") | ENDS,
        request("/", ASKED, (b"x-forwarded-for", b"127.0.0.1:50000"), method="OPTIONS") | ENDS,
        request("/", (ASKED[0], NONCE[1:].encode()), method="OPTIONS") | ENDS,
        request("/", (ASKED[0], "ü".encode() * 32), method="OPTIONS") | ENDS,
        request("/", (ASKED[0], NONCE.encode() + b"\n"), method="OPTIONS") | ENDS,
    ],
    ids=str,
)
async def test_no_other_question_is_answered_with_a_proof(scope: dict[str, Any]) -> None:
    reached, (start, body) = await through_gate(scope)

    assert not reached
    assert start["status"] == 401
    assert body["body"] == b'{"error":"Unauthorized"}'


async def test_no_websocket_passes_with_or_without_the_key() -> None:
    scope = {"type": "websocket", "path": "/v1/realtime", "headers": [RIGHT]}

    assert await through_gate(scope) == (False, [{"type": "websocket.close", "code": 1008}])
