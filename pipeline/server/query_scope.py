"""What a search needs of an embedding server, and so all that a key for queries opens.

Those are the vectors of a few short texts, and the model's name. Whatever else SGLang understands
in the same request (images to fetch, adapters to load, requests to name) is for full keys.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

MAX_INPUTS = 16
MAX_BODY_BYTES = 65_536
"""A token is a byte at the least, so this bounds the tokens of one request, too."""
_FIELDS = frozenset({"input", "model", "encoding_format", "dimensions", "user"})
_MODELS = ("GET", "/v1/models")
_EMBEDDINGS = ("POST", "/v1/embeddings")


class BeyondQueryError(Exception):
    """A request is more than a query."""

    def __init__(self, message: str, *, status: int = 403) -> None:
        super().__init__(message)
        self.status = status


async def read_query(method: str, path: str, receive: Callable[[], Awaitable[Any]]) -> bytes | None:
    """Read a request's body, and return it as it is to be passed on.

    It is written anew from what was understood of it, so that nobody behind reads it otherwise.

    Returns:
        None where the client went away.

    Raises:
        BeyondQueryError: It is no query.
    """
    if (method, path) not in (_MODELS, _EMBEDDINGS):
        raise BeyondQueryError("this key opens POST /v1/embeddings and GET /v1/models alone")
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise BeyondQueryError(
                f"with this key a request has at most {MAX_BODY_BYTES} bytes", status=413
            )
        if not message.get("more_body", False):
            return b"" if (method, path) == _MODELS else _checked(body)


def _checked(body: bytes) -> bytes:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BeyondQueryError("the request is not JSON", status=400) from None
    if not isinstance(asked, dict) or not asked.keys() <= _FIELDS:
        raise BeyondQueryError(f"with this key a request has no fields but {sorted(_FIELDS)}")
    inputs = asked.get("input")
    if not isinstance(inputs, list) or _is_text_or_ids(inputs):
        inputs = [inputs]
    if len(inputs) > MAX_INPUTS:
        raise BeyondQueryError(f"with this key a request has at most {MAX_INPUTS} inputs")
    if not inputs or not all(map(_is_text_or_ids, inputs)):
        raise BeyondQueryError("with this key an input is a text or a list of token ids")
    return orjson.dumps(asked)


def _is_text_or_ids(entry: object) -> bool:
    if isinstance(entry, list):
        # SGLang dies of an empty list, and of some ids below zero.
        return bool(entry) and all(type(number) is int and number >= 0 for number in entry)
    return isinstance(entry, str)
