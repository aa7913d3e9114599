"""Connections over which nothing is sent before the server has proven that it knows the key.

A server of our own listens on a port that anybody takes who comes first: while it loads, and once
it has ended. So each connection begins with a question that tells nothing (`secrecy.proof`). What
is sent after the right answer stays between the same two processes.
"""

import asyncio
import re
import secrets
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

from embed_index.pipeline.embedding.sockets import connect
from embed_index.pipeline.secrecy.proof import (
    NONCE_HEADER,
    PROOF_LENGTH,
    draw_nonce,
    prove,
)

_OK = b"HTTP/1.1 200 "
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d{1,5})\r\n")
_MAX_ANSWER_BYTES = 16_384
_READ_BYTES = 4_096


class UnprovenServerError(httpx.ConnectError):
    """Whoever answers does not know the key."""

    def __init__(self, message: str, *, has_other_key: bool = False) -> None:
        super().__init__(message)
        self.has_other_key = has_other_key
        """It answered as a server of ours with another key does."""


class ProvenTransport(httpx.AsyncHTTPTransport):
    """Speaks plain HTTP to servers that prove to know the key."""

    def __init__(self, *, known: str, limits: httpx.Limits) -> None:
        """Expect this key, by its fingerprint, to be known."""
        super().__init__()
        # Where httpx keeps its pool elsewhere this fails, rather than leave the old one in use.
        assert isinstance(self._pool, httpcore.AsyncConnectionPool)
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_ProvingBackend(known),
        )


class _ProvingBackend(httpcore.AsyncNetworkBackend):
    """Opens connections and asks for their proof within the time for connecting."""

    def __init__(self, known: str) -> None:
        self._known = known

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await connect(host, port, timeout_seconds=timeout, socket_options=socket_options)
        try:
            async with asyncio.timeout(timeout):
                await self._ask(stream)
        except TimeoutError as error:
            await stream.aclose()
            raise httpcore.ConnectTimeout("no proof in time") from error
        except (httpcore.ReadError, httpcore.WriteError) as error:
            await stream.aclose()
            raise httpcore.ConnectError("the connection was closed before the proof") from error
        except BaseException:
            await stream.aclose()
            raise
        return stream

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts to connect."""
        await asyncio.sleep(seconds)

    async def _ask(self, stream: httpcore.AsyncNetworkStream) -> None:
        client, server = (stream.get_extra_info(end) for end in ("client_addr", "server_addr"))
        if client is None or server is None:
            raise httpcore.ReadError("the connection was closed as soon as it was made")
        nonce = draw_nonce()
        expected = prove(self._known, nonce=nonce, client=client[:2], server=server[:2])
        # SGLang's own check lets this method pass everywhere.
        await stream.write(
            f"OPTIONS / HTTP/1.1\r\nHost: {server[0]}:{server[1]}\r\n"
            f"{NONCE_HEADER}: {nonce}\r\n\r\n".encode()
        )
        proofs = await _read_proofs(stream)
        if not proofs:
            raise UnprovenServerError("another program answers, which does not know the key")
        if not any(secrets.compare_digest(proof, expected.encode()) for proof in proofs):
            raise UnprovenServerError(
                "what answers does not know the key, and may have another", has_other_key=True
            )


async def _read_proofs(stream: httpcore.AsyncNetworkStream) -> list[bytes]:
    """Return a proof for each key of a server, as it claims; none for any other answer."""
    received = b""
    while len(received) < _MAX_ANSWER_BYTES:
        piece = await stream.read(_READ_BYTES)
        if not piece:
            raise httpcore.ReadError("the other end closed the connection")
        received += piece
        head, end, body = received.partition(b"\r\n\r\n")
        if not head.startswith(_OK[: len(head)]):
            return []
        if not end:
            continue
        length = _LENGTH.search(head + b"\r\n")
        # What followed would be taken for the answer to what is asked next.
        if length is None or int(length[1]) % PROOF_LENGTH or len(body) > int(length[1]):
            return []
        if len(body) == int(length[1]):
            return [body[at : at + PROOF_LENGTH] for at in range(0, len(body), PROOF_LENGTH)]
    return []
