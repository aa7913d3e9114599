"""A managed server's double: it dies of some token ids, hangs on others, and is gone at once."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NoReturn

from misbehaving_server import KEY, Answer, Request, _read, _render, in_base64, reply, vector_of
from pydantic import SecretStr

from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.embedding.wire import ServerDialect
from embed_index.pipeline.secrecy.keyring import Keyring
from embed_index.schemas.errors import ConfigurationError, ServerError

ACCESS = ServerAccess(
    models=("fragile",),
    served_name="fragile",
    width=8,
    dialect=ServerDialect(),
    max_input_tokens=None,
    engine="fragile",
    dtype="float32",
    missing=(),
)

Verdict = Callable[[Sequence[Sequence[int]]], bool]


def never(_: Sequence[Sequence[int]]) -> bool:
    return False


def any_of(*marked: int) -> Verdict:
    return lambda inputs: any(marked_id in ids for ids in inputs for marked_id in marked)


class FragileServer:
    """Answers together what arrives together, so that a death takes several requests along."""

    def __init__(
        self,
        *,
        dies: Verdict = never,
        hangs: Verdict = never,
        starts: bool = True,
        has_port: bool = True,
        busy: bool = False,
    ):
        self.endpoint = EmbeddingEndpoint.from_settings(
            "http://127.0.0.1:1", key=SecretStr(KEY), model="fragile"
        )
        self.most_at_once = 0
        self._num_at_once = 0
        self.was_killed = False
        self.keyrings: list[Keyring] = []
        self._dies, self._hangs, self._starts, self._is_busy = dies, hangs, starts, busy
        self._has_port = has_port
        self._is_alive = False
        self._is_hung = False
        self._dead = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def start(self) -> None:
        if not self._has_port:
            raise ConfigurationError("Port 30000 on 127.0.0.1 cannot be used.")
        self._is_alive = True

    def take_keys(self, keyring: Keyring) -> None:
        self.keyrings.append(keyring)

    async def wait_ready(self, *, dimension: int | None = None) -> ServerAccess:
        if not self._starts:
            self.die()
            raise ServerError("The embedding server ended while it was starting.")
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        self.endpoint = EmbeddingEndpoint.from_settings(
            f"http://127.0.0.1:{port}", key=SecretStr(KEY), model="fragile"
        )
        return ACCESS

    def is_alive(self) -> bool:
        return self._is_alive

    async def watch(self) -> NoReturn:
        await self._dead.wait()
        raise ServerError("The embedding server ended unexpectedly.")

    def kill(self) -> None:
        self.was_killed = True
        self._loop.call_soon_threadsafe(self.die)

    async def stop(self) -> None:
        self.die()

    def die(self) -> None:
        self._is_alive = False
        self._dead.set()
        if self._listener is not None:
            self._listener.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while (request := await _read(reader)) is not None and self._is_alive:
                await self._answer(request, writer)
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        is_question = request.route == "/health_generate"
        # As SGLang, it embeds a token to see whether it can.
        inputs: list[list[int]] = [[0]] if is_question else request.body["input"]
        self._num_at_once += 1
        self.most_at_once = max(self.most_at_once, self._num_at_once)
        await asyncio.sleep(0.01)
        self._num_at_once -= 1
        if self._dies(inputs):
            self.die()
        self._is_hung = self._is_hung or self._hangs(inputs)
        if self._is_hung or (self._is_busy and not is_question):
            await self._dead.wait()
        if self._is_alive:
            writer.write(_render(Answer() if is_question else _vectors(inputs, request)))
            await writer.drain()


def _vectors(inputs: Sequence[Sequence[int]], request: Request) -> Answer:
    width = request.body["dimensions"]
    return reply([in_base64(vector_of(ids)[:width]) for ids in inputs])


class Nursery:
    """Launches servers from a script, the last one again and again, and remembers them."""

    def __init__(self, *script: Callable[[], FragileServer]) -> None:
        self._script = deque(script)
        self.servers: list[FragileServer] = []

    def __call__(self) -> FragileServer:
        make = self._script.popleft() if len(self._script) > 1 else self._script[0]
        self.servers.append(make())
        return self.servers[-1]

    @property
    def num_lives(self) -> int:
        return len(self.servers)
