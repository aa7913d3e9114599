"""A lock of our own behind SGLang's, which some requests get past.

SGLang lets WebSockets in without a key, and with some versions of Starlette (0.46 is one, 1.10 is
not) takes the path that it compares from the Host header, so that `Host: x/health?` opens every
route. This one looks at the path that
is routed, knows the few routes that are open, and refuses whatever else comes without the key.
"""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/health", "/health_generate", "/ready", "/metrics"})
"""What SGLang answers without a key; `/metrics` exists with `--enable-metrics` alone."""

_REFUSAL = b'{"error":"Unauthorized"}'
_POLICY_VIOLATION = 1008


class KeyGate:
    """ASGI middleware that passes on what holds the key, and nothing but HTTP."""

    def __init__(self, app: Application, *, key: str) -> None:
        self._app = app
        self._key = key.encode("ascii")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        elif scope["type"] == "http" and not self._admits(scope):
            length = str(len(_REFUSAL)).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", length)]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSAL})
        else:
            await self._app(scope, receive, send)

    def _admits(self, scope: Message) -> bool:
        if scope["path"] in OPEN_PATHS:
            return True
        presented = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(presented) != 1:
            return False
        scheme, _, token = presented[0].partition(b" ")
        return scheme.lower() == b"bearer" and secrets.compare_digest(token, self._key)
