"""How a server proves over a connection that it knows a key, which neither end tells. No I/O.

Whoever holds a server's port could hand the question on to the server. So a proof is for one
connection alone, named by the addresses of both of its ends: another one has other addresses.
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
"""In characters; nonces are as long."""

_NONCE = re.compile(r"[0-9a-f]{64}")
_PURPOSE = "embed-index server"
"""The key is used for nothing else in this way."""


def draw_nonce() -> str:
    """Return what a server has not been asked before."""
    return secrets.token_hex(PROOF_LENGTH // 2)


def prove(key: str, *, nonce: str, client: Address, server: Address) -> str:
    """Return what only those who know the key can say about a nonce and a connection.

    Raises:
        ValueError: The nonce is none of `draw_nonce`'s.
    """
    if not _NONCE.fullmatch(nonce):
        raise ValueError("not a nonce")
    ends = (f"{host} {port}" for host, port in (client, server))
    return hmac.new(
        key.encode("ascii"), "\n".join((_PURPOSE, nonce, *ends)).encode(), hashlib.sha256
    ).hexdigest()
