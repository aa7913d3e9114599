import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpcore
import pytest

from embed_index.pipeline.embedding.sockets import PlainStream, connect


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@asynccontextmanager
async def connection(listening: socket.socket) -> AsyncIterator[tuple[PlainStream, socket.socket]]:
    stream = await connect(*listening.getsockname(), timeout_seconds=5)
    peer, _ = listening.accept()
    try:
        with peer:
            yield stream, peer
    finally:
        await stream.aclose()


async def test_what_is_sent_arrives_whole_in_both_directions(listening: socket.socket) -> None:
    sent = bytes(range(256)) * 20_000
    async with connection(listening) as (stream, peer):
        peer.setblocking(False)
        loop = asyncio.get_running_loop()
        writing = asyncio.create_task(stream.write(sent))
        arrived = b""
        while len(arrived) < len(sent):
            arrived += await loop.sock_recv(peer, 1 << 20)
        await writing
        replying = asyncio.create_task(loop.sock_sendall(peer, sent))
        read = b""
        while len(read) < len(sent):
            read += await stream.read(65_536)
        await replying

    assert arrived == read == sent


async def test_the_end_of_a_connection_is_seen_while_idle_and_read_as_nothing(
    listening: socket.socket,
) -> None:
    async with connection(listening) as (stream, peer):
        was_readable = stream.get_extra_info("is_readable")
        peer.close()
        end = await stream.read(10)

        assert (was_readable, stream.get_extra_info("is_readable"), end) == (False, True, b"")


async def test_a_closed_connection_is_readable_so_that_it_is_not_used_again(
    listening: socket.socket,
) -> None:
    async with connection(listening) as (stream, _):
        await stream.aclose()
        await stream.aclose()

        assert stream.get_extra_info("is_readable")


async def test_addresses_are_those_of_both_ends(listening: socket.socket) -> None:
    async with connection(listening) as (stream, peer):
        ends = stream.get_extra_info("client_addr"), stream.get_extra_info("server_addr")

        assert ends == (peer.getpeername(), peer.getsockname())
        assert stream.get_extra_info("ssl_object") is None


async def test_a_connection_that_was_reset_at_once_knows_no_addresses(
    listening: socket.socket,
) -> None:
    connected = socket.create_connection(listening.getsockname())
    peer, _ = listening.accept()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()

    stream = PlainStream(connected)

    ends = stream.get_extra_info("client_addr"), stream.get_extra_info("server_addr")
    await stream.aclose()
    assert ends == (None, None)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda stream: stream.read(10), httpcore.ReadError),
        (lambda stream: stream.write(b"x" * 10_000_000), httpcore.WriteError),
    ],
)
async def test_a_reset_is_told_as_httpcore_does(
    listening: socket.socket,
    ask: Callable[[PlainStream], Awaitable[object]],
    told: type[Exception],
) -> None:
    async with connection(listening) as (stream, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(told):
            await ask(stream)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda stream: stream.read(10, timeout=0.01), httpcore.ReadTimeout),
        (lambda stream: stream.write(b"x" * 50_000_000, timeout=0.01), httpcore.WriteTimeout),
    ],
)
async def test_silence_is_told_as_httpcore_does(
    listening: socket.socket,
    ask: Callable[[PlainStream], Awaitable[object]],
    told: type[Exception],
) -> None:
    async with connection(listening) as (stream, _):
        with pytest.raises(told):
            await ask(stream)


async def test_nobody_at_the_port_is_a_failed_connection(listening: socket.socket) -> None:
    address = listening.getsockname()
    listening.close()

    with pytest.raises(httpcore.ConnectError):
        await connect(*address, timeout_seconds=5)


async def test_a_host_without_an_address_is_a_failed_connection() -> None:
    with pytest.raises(httpcore.ConnectError):
        await connect("no-such-host.invalid", 1, timeout_seconds=5)


async def test_a_full_backlog_is_a_time_out() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        async with AsyncExitStack() as stack:

            async def fill() -> None:
                while True:
                    stream = await connect(*address, timeout_seconds=0.2)
                    stack.push_async_callback(stream.aclose)

            with pytest.raises(httpcore.ConnectTimeout):
                await asyncio.wait_for(fill(), 10)
