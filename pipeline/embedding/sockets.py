"""Plain TCP connections for httpcore, straight on the event loop's sockets.

A reply of 128 vectors has 700 KB. Read through httpcore's own backend, which serves two event loops
and TLS as well, it costs the loop twice as much.
"""

import asyncio
import select
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpcore


class PlainStream(httpcore.AsyncNetworkStream):
    """One connection; at most one task reads and one writes at a time."""

    def __init__(self, connected: socket.socket) -> None:
        """Take over a socket that is connected and does not block."""
        self._socket = connected
        self._peer: Any = None
        with suppress(OSError):
            self._peer = connected.getpeername()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Return what has come, at least a byte; nothing where the other end has closed."""
        with _told_as(OSError, httpcore.ReadError), _told_as(TimeoutError, httpcore.ReadTimeout):
            async with asyncio.timeout(timeout):
                return await asyncio.get_running_loop().sock_recv(self._socket, max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send all of it."""
        with _told_as(OSError, httpcore.WriteError), _told_as(TimeoutError, httpcore.WriteTimeout):
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().sock_sendall(self._socket, buffer)

    async def aclose(self) -> None:
        """Close the connection; closing twice does nothing."""
        self._socket.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,  # noqa: ARG002
        server_hostname: str | None = None,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: what is encrypted goes through httpcore's own backend."""
        raise httpcore.UnsupportedProtocol("a plain connection has no TLS")

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks of a connection, None for what it has not."""
        if info == "is_readable":
            return self._is_readable()
        if info == "server_addr":
            return self._peer
        if info == "client_addr":
            return None if self._peer is None else self._socket.getsockname()
        return self._socket if info == "socket" else None

    def _is_readable(self) -> bool:
        """Say whether an idle connection has something to read, such as its end."""
        if self._socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


async def connect(
    host: str,
    port: int,
    *,
    timeout_seconds: float | None,
    socket_options: Iterable[Any] | None = None,
) -> PlainStream:
    """Open a connection to the first of a host's addresses that answers.

    Raises:
        httpcore.ConnectError: None does.
        httpcore.ConnectTimeout: None does in time.
    """
    with (
        _told_as(OSError, httpcore.ConnectError),
        _told_as(TimeoutError, httpcore.ConnectTimeout),
    ):
        async with asyncio.timeout(timeout_seconds):
            return PlainStream(await _connected(host, port, options=tuple(socket_options or ())))


async def _connected(host: str, port: int, *, options: tuple[Any, ...]) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for option in options:
                opened.setsockopt(*option)
            await loop.sock_connect(opened, address)
        except OSError as error:
            opened.close()
            failure = error
        except BaseException:
            opened.close()
            raise
        else:
            return opened
    raise failure


@contextmanager
def _told_as(cause: type[Exception], told: type[Exception]) -> Iterator[None]:
    try:
        yield
    except cause as error:
        # A time-out is an OSError, too.
        if isinstance(error, TimeoutError) and cause is not TimeoutError:
            raise
        raise told(str(error)) from error
