"""How a server proves over a connection that it knows a key, which neither end tells. No I/O.

Whoever holds a server's port could hand the question on to the server. So a proof is for one
connection alone, named by the addresses of both of its ends: another one has other addresses.

A server keeps fingerprints, from which no key can be had: one recognises a key and proves it known.
"""

import hashlib
import hmac
import re
import secrets
from typing import TypeAlias

Address: TypeAlias = tuple[str, int]
"""Host and port of one end."""

NONCE_HEADER = "X-Embed-Index-Nonce"
PROOF_LENGTH = 64
"""In characters; nonces and fingerprints are as long."""

_NONCE = re.compile(r"[0-9a-f]{64}")
_PURPOSE = "embed-index server"
"""The key is used for nothing else in this way."""


def fingerprint(key: bytes) -> str:
    """Return what a server remembers of a key."""
    return hashlib.sha256(_PURPOSE.encode() + b"\n" + key).hexdigest()


def draw_nonce() -> str:
    """Return what a server has not been asked before."""
    return secrets.token_hex(PROOF_LENGTH // 2)


def prove(*known: str, nonce: str, client: Address, server: Address) -> str:
    """Return what only those who know the keys can say about a nonce and a connection.

    Args:
        known: The keys' fingerprints.
        nonce: What the client drew.
        client: The client's end of the connection.
        server: The server's end.

    Returns:
        A proof for each key, one after the other.

    Raises:
        ValueError: The nonce is none of `draw_nonce`'s.
    """
    if not _NONCE.fullmatch(nonce):
        raise ValueError("not a nonce")
    ends = (f"{host} {port}" for host, port in (client, server))
    question = "\n".join((_PURPOSE, nonce, *ends)).encode()
    return "".join(hmac.digest(key.encode("ascii"), question, "sha256").hex() for key in known)
