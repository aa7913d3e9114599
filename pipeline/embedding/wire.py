"""Vectors as they come from an embedding server: decoding, checks, normalisation. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pybase64

from embed_index.schemas.records import TokenIds, Vectors

_FLOAT_BYTES = 4
_MIN_NORM = 1e-12


class MalformedReplyError(Exception):
    """A reply is not what was asked for: not JSON, wrong count, wrong order or wrong width."""


class UnusableVectorError(Exception):
    """A reply is well formed, and holds NaN, infinity or a vector of length zero."""

    def __init__(self, message: str, *, places: Sequence[int]) -> None:
        super().__init__(message)
        self.places = tuple(places)
        """Of the inputs that have no usable vector."""


class AlteredInputError(Exception):
    """A reply is well formed, and of other tokens than were sent: an input was cut."""


def encode_request(
    token_ids: Sequence[TokenIds], *, model: str, dimension: int | None, base64: bool = True
) -> bytes:
    """Return the JSON body that asks for the vectors of token id lists.

    Args:
        token_ids: One array per input, in order.
        model: Name of the model; servers of one model ignore it.
        dimension: Width to ask for; None asks for the model's own.
        base64: Whether vectors are asked for in base64, or in the server's own way.
    """
    request: dict[str, Any] = {"input": list(token_ids), "model": model}
    if base64:
        request["encoding_format"] = "base64"
    if dimension is not None:
        request["dimensions"] = dimension
    return orjson.dumps(request, option=orjson.OPT_SERIALIZE_NUMPY)


def decode_reply(
    body: bytes,
    *,
    num_vectors: int,
    dimension: int,
    cut: bool = False,
    num_tokens: int | None = None,
) -> Vectors:
    """Return the vectors of an OpenAI embeddings reply in the order of the request.

    Vectors are unit length: servers normalise in the model's precision, so that norms are off by up
    to 3e-3 in bfloat16.

    Args:
        body: The reply's JSON. Vectors are base64 of little-endian float32, or lists of numbers.
        num_vectors: How many inputs the request had.
        dimension: Width of the result.
        cut: Whether a wider vector is cut to `dimension`, for servers that cannot cut.
        num_tokens: How many tokens the request had; None does not compare.

    Returns:
        Array of shape (num_vectors, dimension).

    Raises:
        MalformedReplyError: The reply is not what was asked for.
        AlteredInputError: The model saw more or fewer tokens than the request had.
        UnusableVectorError: A vector cannot be normalised.
    """
    reply = _parse(body)
    seen_tokens = _count_tokens(reply)
    if num_tokens is not None and seen_tokens not in (None, num_tokens):
        raise AlteredInputError(f"the model saw {seen_tokens} tokens of {num_tokens} sent")
    entries = reply["data"]
    if len(entries) != num_vectors:
        raise MalformedReplyError(f"{len(entries)} vectors for {num_vectors} inputs")
    vectors = np.empty((num_vectors, dimension), dtype=np.float32)
    seen = bytearray(num_vectors)
    for entry in entries:
        index, vector = _decode_entry(entry)
        if not 0 <= index < num_vectors or seen[index]:
            raise MalformedReplyError(f"index {index} is out of range or given twice")
        if vector.size != dimension and not (cut and vector.size > dimension):
            raise MalformedReplyError(f"a vector of width {vector.size} instead of {dimension}")
        seen[index] = 1
        vectors[index] = vector[:dimension]
    return normalise(vectors)


def normalise(vectors: Vectors) -> Vectors:
    """Return the rows at unit length, in float32.

    Raises:
        UnusableVectorError: A row holds NaN or infinity, or its length is zero.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    # A NaN norm fails the comparison too, and one NaN or infinity in a row reaches its norm.
    usable = (norms > _MIN_NORM) & (norms < np.inf)
    if not usable.all():
        rows = np.flatnonzero(~usable)
        raise UnusableVectorError(
            f"{rows.size} of {norms.size} vectors hold NaN or infinity, or have length zero",
            places=rows.tolist(),
        )
    unit: Vectors = (vectors / norms[:, None]).astype(np.float32)
    return unit


def reply_width(body: bytes) -> int:
    """Return the width of the first vector of a reply, whatever its values.

    Raises:
        MalformedReplyError: The reply is not an embeddings reply.
    """
    entries = _parse(body)["data"]
    if not entries:
        raise MalformedReplyError("no vectors")
    return int(_decode_entry(entries[0])[1].size)


def reply_tokens(body: bytes) -> int | None:
    """Return how many tokens the server says that the model saw; None where it does not say.

    Raises:
        MalformedReplyError: The reply is not an embeddings reply.
    """
    return _count_tokens(_parse(body))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedReplyError("the reply is not JSON") from error
    if not isinstance(reply, dict) or not isinstance(reply.get("data"), list):
        raise MalformedReplyError("the reply has no list `data`")
    return reply


def _count_tokens(reply: dict[str, Any]) -> int | None:
    usage = reply.get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    # Some servers fill in a zero for what they do not count.
    return count if isinstance(count, int) and count > 0 else None


def _decode_entry(entry: Any) -> tuple[int, Vectors]:
    """Return index and vector, of shape (width,)."""
    try:
        index, embedding = int(entry["index"]), entry["embedding"]
        if isinstance(embedding, str):
            raw = pybase64.b64decode(embedding, validate=True)
            if len(raw) % _FLOAT_BYTES:
                raise MalformedReplyError("a vector is not a whole number of float32 values")
            return index, np.frombuffer(raw, dtype="<f4")
        vector = np.asarray(embedding, dtype=np.float32)
    except (KeyError, TypeError, ValueError) as error:
        # binascii.Error is a ValueError.
        raise MalformedReplyError("a vector is missing or not decodable") from error
    if vector.ndim != 1:
        raise MalformedReplyError("a vector is not a flat list of numbers")
    return index, vector


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerDialect:
    """How requests to a server are put, and what its replies tell."""

    cuts: bool = True
    """Whether it cuts vectors to the dimension asked for; otherwise they are cut here."""
    takes_base64: bool = True
    """Whether it may be asked for base64; otherwise vectors come as lists of numbers."""
    counts_tokens: bool = False
    """Whether replies say how many tokens the model saw, so that a cut input is noticed."""
