"""Identifiers and content hashes: same input, same bytes, on every machine."""

import hashlib
from collections.abc import Sequence

from embed_index.schemas.records import CarriedValue

_DIGEST_BYTES = 16


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
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for value in carried:
        raw = repr(value).encode("utf-8")
        digest.update(type(value).__name__[:1].encode() + len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


def carried_hashes(rows: Sequence[tuple[CarriedValue, ...]]) -> list[str]:
    """Return the hash of each row's carried values."""
    of_none = carried_hash(())
    return [carried_hash(row) if row else of_none for row in rows]
