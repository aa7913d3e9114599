"""A lock of our own before SGLang's, with keys that may change while it is asked.

SGLang knows one key for its life. It lets WebSockets in without one, and with some versions of
Starlette (0.46 is one, 1.10 is not) takes the path that it compares from the Host header, so that
`Host: x/health?` opens every route. This lock looks at the path that is routed, knows the few
routes that are open, and refuses whatever else comes without a key of its own. What it passes on
carries SGLang's key instead, which is drawn for one life, is known to nobody else and opens nothing
here: the real ones reach neither SGLang nor its log.

It also tells whoever asks, before he tells the key, that it knows the key: see `secrecy.proof`.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import orjson

from embed_index.pipeline.secrecy.keyring import HashedKey
from embed_index.pipeline.secrecy.proof import NONCE_HEADER
from embed_index.pipeline.server.access_log import AccessLog
from embed_index.pipeline.server.admission import Admission
from embed_index.pipeline.server.query_scope import BeyondQueryError, read_query

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/health", "/health_generate", "/ready", "/metrics"})
"""What SGLang answers without a key; `/metrics` exists with `--enable-metrics` alone."""

_WARM_UP = (("GET", "/model_info"), ("POST", "/encode"), ("POST", "/freeze_gc"))
"""What SGLang asks itself over its port when it has loaded, each once. Another program may have
held the port before and been told SGLang's key: it would gain one vector."""
_NOBODY = "-"
_POLICY_VIOLATION = 1008
_NONCE = NONCE_HEADER.lower().encode()
_AUTHORIZATION = b"authorization"
_OF_THE_BODY = frozenset({b"content-length", b"content-encoding", b"transfer-encoding"})
_FORWARDED = b"x-forwarded-for"
"""uvicorn believes what it says of the connection's other end."""
_COUNT = re.compile(rb'"prompt_tokens":\s?(\d+)')
_TAIL_BYTES = 512
"""SGLang counts tokens at the end of its answer."""


class KeyGate:
    """ASGI middleware that passes on what holds a key, and nothing but HTTP."""

    def __init__(
        self,
        app: Application,
        *,
        admission: Admission,
        inner_key: str,
        log: AccessLog | None = None,
    ) -> None:
        """Stand before an application.

        Args:
            app: What is guarded.
            admission: Which keys are taken.
            inner_key: The one that the application itself asks for.
            log: Where it is written who asked; None for nowhere.
        """
        self._app = app
        self._admission = admission
        self._inner = f"Bearer {inner_key}".encode()
        self._inner_key = inner_key.encode()
        self._warm_up = set(_WARM_UP)
        self._log = log

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, prove to know the keys, or refuse it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in OPEN_PATHS:
            await self._app(self._with_headers(scope), receive, send)
        elif (key := self._key_of(scope)) is not None:
            await self._admit(key, scope, receive, send)
        elif self._is_warm_up(scope):
            await self._app(scope, receive, send)
        elif (proof := self._proof(scope)) is not None:
            await _answer(send, status=200, body=proof.encode(), kind=b"text/plain")
        else:
            self._note(_NOBODY, status=401)
            await _refuse(send, status=401, error="Unauthorized")

    def _key_of(self, scope: Message) -> HashedKey | None:
        token = _token(scope)
        return None if token is None else self._admission.find(token)

    def _is_warm_up(self, scope: Message) -> bool:
        asked = (scope["method"], scope["path"])
        if asked not in self._warm_up:
            return False
        token = _token(scope)
        if token is None or not secrets.compare_digest(token, self._inner_key):
            return False
        self._warm_up.discard(asked)
        return True

    async def _admit(self, key: HashedKey, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request of a key on, as far as that key goes."""
        if seconds := self._admission.seconds_to_wait(key):
            self._note(key.name, status=429)
            after = (b"retry-after", str(seconds).encode())
            await _refuse(send, after, status=429, error="too many requests for this key")
            return
        passed = self._with_headers(scope)
        if key.query_only:
            try:
                body = await read_query(scope["method"], scope["path"], receive)
            except BeyondQueryError as beyond:
                self._note(key.name, status=beyond.status)
                await _refuse(send, status=beyond.status, error=str(beyond))
                return
            if body is None:
                return
            passed = _with_body(passed, length=len(body))
            receive = _once(body, receive)
        if self._log is None or not key.name:
            await self._app(passed, receive, send)
        else:
            await self._admit_logged(key, passed, receive, send)

    async def _admit_logged(
        self, key: HashedKey, scope: Message, receive: Receive, send: Send
    ) -> None:
        status: int | None = None
        tail = b""

        async def overhear(message: Message) -> None:
            nonlocal status, tail
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                tail = (tail + message.get("body", b"")[-_TAIL_BYTES:])[-_TAIL_BYTES:]
            await send(message)

        try:
            await self._app(scope, receive, overhear)
        finally:
            counts = _COUNT.findall(tail) if status == 200 else []
            self._note(key.name, status=status, tokens=int(counts[-1]) if counts else None)

    def _note(self, name: str, *, status: int | None, tokens: int | None = None) -> None:
        if self._log is not None and name:
            self._log.write(name=name, status=status, tokens=tokens)

    def _with_headers(self, scope: Message) -> Message:
        """Return the scope with the application's key in place of whatever came."""
        headers = [entry for entry in scope["headers"] if entry[0] != _AUTHORIZATION]
        if scope["path"] not in OPEN_PATHS:
            headers.append((_AUTHORIZATION, self._inner))
        return {**scope, "headers": headers}

    def _proof(self, scope: Message) -> str | None:
        """Return the proof that a request asks for; None where it does not, or cannot have one."""
        nonces = _values(scope, _NONCE)
        client, server = scope.get("client"), scope.get("server")
        if scope["method"] != "OPTIONS" or len(nonces) != 1 or _values(scope, _FORWARDED):
            return None
        if client is None or server is None:
            return None
        try:
            nonce = nonces[0].decode("latin-1")
            return self._admission.prove(nonce=nonce, client=client, server=server)
        except ValueError:
            return None


def _token(scope: Message) -> bytes | None:
    presented = _values(scope, _AUTHORIZATION)
    if len(presented) != 1:
        return None
    scheme, _, token = presented[0].partition(b" ")
    return token if scheme.lower() == b"bearer" else None


def _values(scope: Message, header: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == header]


def _with_body(scope: Message, *, length: int) -> Message:
    """Return the scope of a request whose body is another one."""
    headers = [entry for entry in scope["headers"] if entry[0] not in _OF_THE_BODY]
    return {**scope, "headers": [*headers, (b"content-length", str(length).encode())]}


def _once(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read before, and then what comes."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return left.pop() if left else await receive()

    return give


async def _refuse(send: Send, *headers: tuple[bytes, bytes], status: int, error: str) -> None:
    body = orjson.dumps({"error": error})
    await _answer(send, *headers, status=status, body=body, kind=b"application/json")


async def _answer(
    send: Send, *more: tuple[bytes, bytes], status: int, body: bytes, kind: bytes
) -> None:
    length = str(len(body)).encode()
    headers = [(b"content-type", kind), (b"content-length", length), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
