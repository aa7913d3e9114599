"""A loopback embeddings server that does as it is told, wrongly if need be."""

import asyncio
import base64
import ssl
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import numpy as np
import orjson

KEY = "test-key-8d1f0c2b7a"
WIDTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    route: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection without a word."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answer."""


@dataclass(frozen=True, slots=True)
class Drip:
    """Never end an answer, and never fall silent."""


@dataclass(frozen=True, slots=True)
class Flood:
    """Never end an answer, as fast as it is read."""

    status: int = 200
    encoding: str = "identity"
    num_bytes: int = 1 << 32
    """So many and no more, in case that everything is read."""


Behaviour: TypeAlias = Callable[[Request], "Answer | Drop | Hang | Drip | Flood"]


def vector_of(token_ids: Sequence[int], width: int = WIDTH) -> list[float]:
    """A vector that tells inputs apart, not normalised."""
    generator = np.random.default_rng(list(token_ids))
    return [float(x) for x in generator.normal(size=width).astype(np.float32) * 3]


def in_base64(vector: Sequence[float]) -> str:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()


def reply(vectors: Sequence[Any], *, num_tokens: int | None = None) -> Answer:
    data = [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    usage = {} if num_tokens is None else {"usage": {"prompt_tokens": num_tokens}}
    return Answer(body=orjson.dumps({"data": data, **usage}))


def embeds(request: Request, *, max_tokens: int | None = None) -> Answer:
    """What a good server does: cut vectors, count tokens, answer in base64."""
    width = request.body.get("dimensions", WIDTH)
    inputs = [ids[:max_tokens] for ids in request.body["input"]]
    vectors = [in_base64(vector_of(ids)[:width]) for ids in inputs]
    return reply(vectors, num_tokens=sum(map(len, inputs)))


def says(status: int, **headers: str) -> Behaviour:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return lambda _: Answer(status=status, body=b'{"message":"no"}', headers=named)


def drops(_: Request) -> Drop:
    return Drop()


def hangs(_: Request) -> Hang:
    return Hang()


def drips(_: Request) -> Drip:
    return Drip()


def floods(_: Request) -> Flood:
    return Flood()


def floods_compressed(_: Request) -> Flood:
    return Flood(encoding="gzip")


def compresses_wrongly(_: Request) -> Answer:
    return Answer(headers=(("Content-Encoding", "gzip"),))


@dataclass(slots=True)
class MisbehavingServer:
    """Follows its script, one behaviour a request, and then `always`."""

    script: deque[Behaviour] = field(default_factory=deque)
    always: Behaviour = embeds
    requests: list[Request] = field(default_factory=list)
    got_request: asyncio.Event = field(default_factory=asyncio.Event)
    num_connections: int = 0
    url: str = ""

    async def serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.num_connections += 1
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                self.got_request.set()
                behaviour = self.script.popleft() if self.script else self.always
                answer = behaviour(request)
                if isinstance(answer, Drop):
                    return
                if isinstance(answer, Hang):
                    await reader.read()
                    return
                if isinstance(answer, Drip):
                    await _drip(writer)
                if isinstance(answer, Flood):
                    await _flood(answer, writer)
                    return
                writer.write(_render(answer))
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()


@asynccontextmanager
async def misbehaving_server(
    *script: Behaviour, always: Behaviour = embeds, tls: ssl.SSLContext | None = None
) -> AsyncIterator[MisbehavingServer]:
    server = MisbehavingServer(script=deque(script), always=always)
    listener = await asyncio.start_server(server.serve_connection, "127.0.0.1", 0, ssl=tls)
    async with listener:
        scheme = "https" if tls else "http"
        server.url = f"{scheme}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        yield server


async def _drip(writer: asyncio.StreamWriter) -> NoReturn:
    writer.write(b"HTTP/1.1 200 Told\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _flood(flood: Flood, writer: asyncio.StreamWriter) -> None:
    head = f"HTTP/1.1 {flood.status} Told\r\nContent-Encoding: {flood.encoding}\r\n\r\n"
    writer.write(head.encode())
    piece = bytes(1 << 20)
    gzip = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    for _ in range(flood.num_bytes // len(piece)):
        is_compressed = flood.encoding == "gzip"
        writer.write(
            gzip.compress(piece) + gzip.flush(zlib.Z_SYNC_FLUSH) if is_compressed else piece
        )
        await writer.drain()
        # What has room takes it without letting anybody else have a turn.
        await asyncio.sleep(0)


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode().strip().split("\r\n")
    method, route, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(
        method=method, route=route, headers=headers, body=orjson.loads(body) if body else None
    )


def _render(answer: Answer) -> bytes:
    headers = [*answer.headers, ("Content-Length", str(len(answer.body)))]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {answer.status} Told\r\n{head}\r\n".encode() + answer.body
