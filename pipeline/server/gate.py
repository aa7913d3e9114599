"""A lock of our own behind SGLang's, which some requests get past.

SGLang lets WebSockets in without a key, and with some versions of Starlette (0.46 is one, 1.10 is
not) takes the path that it compares from the Host header, so that `Host: x/health?` opens every
route. This one looks at the path that
is routed, knows the few routes that are open, and refuses whatever else comes without the key.

It also tells whoever asks, before he tells the key, that it knows the key: see `secrecy.proof`.
"""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from embed_index.pipeline.secrecy.proof import NONCE_HEADER, prove

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/health", "/health_generate", "/ready", "/metrics"})
"""What SGLang answers without a key; `/metrics` exists with `--enable-metrics` alone."""

_REFUSAL = b'{"error":"Unauthorized"}'
_POLICY_VIOLATION = 1008
_NONCE = NONCE_HEADER.lower().encode()
_FORWARDED = b"x-forwarded-for"
"""uvicorn believes what it says of the connection's other end."""


class KeyGate:
    """ASGI middleware that passes on what holds the key, and nothing but HTTP."""

    def __init__(self, app: Application, *, key: str) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, prove to know the key, or answer 401."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        elif scope["type"] != "http" or self._admits(scope):
            await self._app(scope, receive, send)
        elif (proof := self._proof(scope)) is not None:
            await _answer(send, status=200, body=proof.encode(), kind=b"text/plain")
        else:
            await _answer(send, status=401, body=_REFUSAL, kind=b"application/json")

    def _admits(self, scope: Message) -> bool:
        if scope["path"] in OPEN_PATHS:
            return True
        presented = _values(scope, b"authorization")
        if len(presented) != 1:
            return False
        scheme, _, token = presented[0].partition(b" ")
        return scheme.lower() == b"bearer" and secrets.compare_digest(token, self._key.encode())

    def _proof(self, scope: Message) -> str | None:
        """Return the proof that a request asks for; None where it does not, or cannot have one."""
        nonces = _values(scope, _NONCE)
        client, server = scope.get("client"), scope.get("server")
        if scope["method"] != "OPTIONS" or len(nonces) != 1 or _values(scope, _FORWARDED):
            return None
        if client is None or server is None:
            return None
        try:
            return prove(self._key, nonce=nonces[0].decode("latin-1"), client=client, server=server)
        except ValueError:
            return None


def _values(scope: Message, header: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == header]


async def _answer(send: Send, *, status: int, body: bytes, kind: bytes) -> None:
    length = str(len(body)).encode()
    headers = [(b"content-type", kind), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
