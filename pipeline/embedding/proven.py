"""Connections over which nothing is sent before the server has proven that it knows the key.

A server of our own listens on a port that anybody takes who comes first: while it loads, and once
it has ended. So each connection begins with a question that tells nothing (`secrecy.proof`). What
is sent after the right answer stays between the same two processes.
"""

import asyncio
import secrets
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx
from pydantic import SecretStr

from embed_index.pipeline.secrecy.proof import NONCE_HEADER, PROOF_LENGTH, draw_nonce, prove

_OK = b"HTTP/1.1 200 "
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

    def __init__(self, *, key: SecretStr, limits: httpx.Limits) -> None:
        super().__init__()
        # Where httpx keeps its pool elsewhere this fails, rather than leave the old one in use.
        assert isinstance(self._pool, httpcore.AsyncConnectionPool)
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_ProvingBackend(key),
        )


class _ProvingBackend(httpcore.AnyIOBackend):
    """Opens connections and asks for their proof within the time for connecting."""

    def __init__(self, key: SecretStr) -> None:
        self._key = key

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await super().connect_tcp(host, port, timeout, local_address, socket_options)
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

    async def _ask(self, stream: httpcore.AsyncNetworkStream) -> None:
        client, server = (stream.get_extra_info(end) for end in ("client_addr", "server_addr"))
        if client is None or server is None:
            raise httpcore.ReadError("the connection was closed as soon as it was made")
        nonce = draw_nonce()
        expected = prove(
            self._key.get_secret_value(), nonce=nonce, client=client[:2], server=server[:2]
        )
        # SGLang's own check lets this method pass everywhere.
        await stream.write(
            f"OPTIONS / HTTP/1.1\r\nHost: {server[0]}:{server[1]}\r\n"
            f"{NONCE_HEADER}: {nonce}\r\n\r\n".encode()
        )
        proof = await _read_proof(stream)
        if len(proof) != PROOF_LENGTH:
            raise UnprovenServerError("another program answers, which does not know the key")
        if not secrets.compare_digest(proof, expected.encode()):
            raise UnprovenServerError(
                "what answers does not know the key, and may have another", has_other_key=True
            )


async def _read_proof(stream: httpcore.AsyncNetworkStream) -> bytes:
    """Return what follows the head of an answer with status 200; empty for any other answer."""
    received = b""
    while len(received) < _MAX_ANSWER_BYTES:
        piece = await stream.read(_READ_BYTES)
        if not piece:
            raise httpcore.ReadError("the other end closed the connection")
        received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        if not head.startswith(_OK[: len(head)]):
            return b""
        if len(body) >= PROOF_LENGTH:
            return body
    return b""
