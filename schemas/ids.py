"""Identifiers and content hashes: same input, same bytes, on every machine."""

import hashlib
from collections.abc import Sequence

from embed_index.schemas.columns import canonical_json
from embed_index.schemas.records import CarriedValue

CONTENT_HASH_BYTES = 16
_DIGEST_BYTES = CONTENT_HASH_BYTES


def chunk_id(doc_id: str, chunk_index: int) -> str:
    """Return the primary key of a chunk: 32 hexadecimal digits.

    The document id is length-prefixed, so that no two pairs share an input.
    """
    raw = doc_id.encode("utf-8")
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    digest.update(len(raw).to_bytes(8, "little"))
    digest.update(raw)
    digest.update(chunk_index.to_bytes(8, "little"))
    return digest.hexdigest()


def text_hash(text: str) -> str:
    """Return the content hash of a text: 32 hexadecimal digits."""
    return utf8_hash(text.encode("utf-8"))


def utf8_hash(text: bytes | memoryview) -> str:
    """Return the content hash of a text that is at hand as UTF-8."""
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()


def carried_hash(carried: Sequence[CarriedValue]) -> str:
    """Return the hash of carried values: 32 hexadecimal digits; type and order count."""
    joined = b"".join(map(_encode_carried, carried))
    return hashlib.blake2b(joined, digest_size=_DIGEST_BYTES).hexdigest()


def carried_hashes(rows: Sequence[tuple[CarriedValue, ...]]) -> list[str]:
    """Return the hash of each row's carried values, at half the cost of one by one."""
    columns = [_encode_column(values) for values in zip(*rows, strict=True)]
    if not columns:
        return [carried_hash(())] * len(rows)
    return [
        hashlib.blake2b(b"".join(parts), digest_size=_DIGEST_BYTES).hexdigest()
        for parts in zip(*columns, strict=True)
    ]


def _encode_column(values: Sequence[CarriedValue]) -> list[bytes]:
    kinds = set(map(type, values))
    # Values repeat; but equal ones of two types, and 0.0 and -0.0, are not the same.
    if len(kinds - {type(None)}) > 1 or float in kinds:
        return [_encode_carried(value) for value in values]
    encoded = {value: _encode_carried(value) for value in set(values)}
    return [encoded[value] for value in values]


def _encode_carried(value: CarriedValue) -> bytes:
    if isinstance(value, list | dict):
        value = canonical_json(value)
    raw = repr(value).encode("utf-8")
    return type(value).__name__[:1].encode() + len(raw).to_bytes(8, "little") + raw
