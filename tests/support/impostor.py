"""Another program on a server's port: it answers as it likes, and remembers what it is told."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import quote

import orjson
import uvicorn
from misbehaving_server import Answer, _render, in_base64, reply, vector_of
from pydantic import SecretStr

from embed_index.pipeline.secrecy.keyring import hash_key
from embed_index.pipeline.secrecy.proof import NONCE_HEADER
from embed_index.pipeline.server.admission import Admission
from embed_index.pipeline.server.gate import KeyGate, Message, Receive, Send

MARK = 1_234_567
"""A token id that is looked for in what an impostor was told."""

Behaviour: TypeAlias = Callable[["Impostor", bytes], Awaitable[bytes | None]]
"""From a request to the answer's bytes; None closes the connection."""


@dataclass(slots=True, eq=False)
class Impostor:
    behaviour: Behaviour
    told: bytearray = field(default_factory=bytearray)
    num_requests: int = 0
    client: str = ""
    """Address of the latest one, as `host:port`."""
    port: int = 0
    listener: asyncio.Server | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")
        self.client = f"{host}:{port}"
        try:
            while received := await reader.read(65_536):
                self.told += received
                self.num_requests += 1
                answer = await self.behaviour(self, received)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    def was_told(self, secret: str) -> bool:
        """Whether a secret was among it, in any usual spelling."""
        raw = secret.encode()
        spellings = {raw, raw[::-1], quote(secret, safe="").encode(), raw.hex().encode()}
        for shift in range(3):
            # In the middle of something else that is encoded; its ends depend on what that is.
            spellings.add(base64.b64encode(b"x" * shift + raw)[4:-4])
        told = bytes(self.told)
        return any(spelling.lower() in told.lower() for spelling in spellings)


@asynccontextmanager
async def impostor_on(port: int, behaviour: Behaviour) -> AsyncIterator[Impostor]:
    """Listen on a port, as soon as it is free; 0 takes any."""
    impostor = Impostor(behaviour)
    async with asyncio.timeout(60):
        while impostor.listener is None:
            with suppress(OSError):
                impostor.listener = await asyncio.start_server(impostor.serve, "127.0.0.1", port)
            await asyncio.sleep(0)
    impostor.port = impostor.listener.sockets[0].getsockname()[1]
    async with impostor.listener:
        yield impostor


async def embeds(_: Impostor, request: bytes) -> bytes:
    """Answer everything as a server that is open to all would."""
    with suppress(ValueError, KeyError, TypeError):
        inputs = orjson.loads(request.partition(b"\r\n\r\n")[2])["input"]
        return _render(reply([in_base64(vector_of(ids)) for ids in inputs]))
    return _render(reply([in_base64(vector_of([1]))]))


async def refuses_once(impostor: Impostor, request: bytes) -> bytes:
    """Pass a check that looks for one refusal."""
    if impostor.num_requests % 2:
        return _render(Answer(status=401))
    return await embeds(impostor, request)


async def redirects(_: Impostor, __: bytes) -> bytes:
    return _render(Answer(status=307, headers=(("Location", "http://127.0.0.1:1/v1"),)))


async def babbles(_: Impostor, __: bytes) -> bytes:
    return secrets.token_bytes(300)


async def closes(_: Impostor, __: bytes) -> None:
    return None


async def hangs(_: Impostor, __: bytes) -> None:
    await asyncio.Event().wait()


async def never_ends_its_head(_: Impostor, __: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000


async def guesses(_: Impostor, __: bytes) -> bytes:
    return _render(Answer(body=secrets.token_hex(32).encode()))


async def echoes(_: Impostor, request: bytes) -> bytes:
    return _render(Answer(body=nonce_of(request)))


async def says_nothing_in_many_words(_: Impostor, __: bytes) -> bytes:
    return _render(Answer(body=b"0" * 64 * 100))


HONEST = (embeds, refuses_once, redirects, babbles)
"""Know nothing of proofs."""
SLY = (closes, never_ends_its_head, guesses, echoes, says_nothing_in_many_words)


def nonce_of(request: bytes) -> bytes:
    _, _, rest = request.partition(NONCE_HEADER.encode() + b": ")
    return rest.partition(b"\r\n")[0]


async def ask_gate(port: int, nonce: bytes, *more: str) -> bytes:
    """Put a question to a real gate over a connection of one's own; return the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = ("OPTIONS / HTTP/1.1", "Host: x", f"{NONCE_HEADER}: {nonce.decode()}", *more)
    writer.write("\r\n".join((*lines, "Connection: close", "", "")).encode())
    answer = await reader.read(-1)
    writer.close()
    return answer


@asynccontextmanager
async def gated_server(key: str, *, port: int = 0) -> AsyncIterator[int]:
    """Our gate before what embeds, served as SGLang serves it; yields the port."""

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        answer = reply([in_base64(vector_of(ids)) for ids in orjson.loads(body)["input"]])
        headers = [(b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    admission = Admission([hash_key(SecretStr(key), name="key")])
    gate = KeyGate(application, admission=admission, inner_key="ei-inner")
    config = uvicorn.Config(
        gate,
        host="127.0.0.1",
        port=port,
        log_config=None,
        lifespan="off",
        ws="none",
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done(), serving.result()
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        server.force_exit = True
        await serving
