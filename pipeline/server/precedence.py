"""Small requests go first: a search does not wait behind all that a run has at the server.

SGLang takes requests in their order, unless it is told that one precedes. A run keeps hundreds of
thousands of tokens waiting there, and each question of a search would wait for all of them. With
this, it waits for the pass that is being computed. What may precede is bounded, in one request and
in all that are there at once, so that whoever sends many small requests gets a part of each pass,
and a run the rest.
"""

from embed_index.pipeline.server.gate import Application, Message, Receive, Send

MAX_BYTES = 16_384
"""About 2,700 token ids, a sixth of a pass on a CPU and a twelfth on a GPU."""

_EMBEDDINGS = ("POST", "/v1/embeddings")
_FIRST = b'{"priority":1,'
_LENGTH = b"content-length"
_CODED = frozenset({b"content-encoding", b"transfer-encoding"})


class Precedence:
    """Stands before SGLang, and tells it which requests precede."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._num_bytes = 0
        """Of the requests that precede now."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, as one that precedes where it is small and few are there."""
        size = _size(scope)
        if size is None or self._num_bytes + size > MAX_BYTES:
            await self._app(scope, receive, send)
            return
        self._num_bytes += size
        try:
            await self._app(_longer(scope, size), _first(receive), send)
        finally:
            self._num_bytes -= size


def _size(scope: Message) -> int | None:
    """Return the length of a request for vectors; None of what is none, or does not say it."""
    if scope["type"] != "http" or (scope["method"], scope["path"]) != _EMBEDDINGS:
        return None
    told = [value for name, value in scope["headers"] if name == _LENGTH]
    is_coded = any(name in _CODED for name, _ in scope["headers"])
    if is_coded or len(told) != 1 or not told[0].isdigit():
        return None
    return int(told[0]) or None


def _longer(scope: Message, size: int) -> Message:
    headers = [entry for entry in scope["headers"] if entry[0] != _LENGTH]
    length = str(size + len(_FIRST) - 1).encode()
    return {**scope, "headers": [*headers, (_LENGTH, length)]}


def _first(receive: Receive) -> Receive:
    """Return a `receive` whose body begins with the priority; one that the body has counts."""
    is_told = False

    async def give() -> Message:
        nonlocal is_told
        message = await receive()
        body = message.get("body", b"")
        if is_told or not body:
            return message
        is_told = True
        if body[:1] != b"{" or body[1:2] in (b"", b"}"):
            # Whatever it is, the application says so; white space keeps its promised length.
            return {**message, "body": b" " * (len(_FIRST) - 1) + body}
        return {**message, "body": _FIRST + body[1:]}

    return give
