"""Small requests precede large ones, up to a bound, and nothing else of them changes."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from sglang_fixtures import RunningServer

from embed_index.pipeline.server.gate import Message
from embed_index.pipeline.server.precedence import MAX_BYTES, Precedence


def scope(size: int, *more: tuple[bytes, bytes], **changes: Any) -> Message:
    headers = [(b"content-length", str(size).encode()), *more]
    asked = {"type": "http", "method": "POST", "path": "/v1/embeddings", "headers": headers}
    return asked | changes


class App:
    """Keeps what it was asked, and answers when it is let go."""

    def __init__(self, *, waits: bool = False) -> None:
        self.asked: list[tuple[bytes, int]] = []
        self.arrivals: asyncio.Queue[None] = asyncio.Queue()
        self.let_go = asyncio.Event()
        if not waits:
            self.let_go.set()

    async def __call__(self, scope: Message, receive: Any, _: Any) -> None:
        body, is_more = b"", True
        while is_more:
            message = await receive()
            body += message.get("body", b"")
            is_more = message.get("more_body", False)
        told = [value for name, value in scope["headers"] if name == b"content-length"]
        self.asked.append((body, int(told[0]) if told else -1))
        self.arrivals.put_nowait(None)
        await self.let_go.wait()


async def ask(app: App, parts: list[bytes], scope: Message, *, by: Precedence) -> None:
    left = [
        {"type": "http.request", "body": part, "more_body": number + 1 < len(parts)}
        for number, part in enumerate(parts)
    ]

    async def receive() -> Message:
        return left.pop(0)

    await by(scope, receive, None)  # type: ignore[arg-type]


async def seen(body: bytes, *, parts: int = 1, **changes: Any) -> bytes:
    app = App()
    size = len(body) // parts + 1
    pieces = [body[n * size : (n + 1) * size] for n in range(parts)]
    await ask(app, pieces, scope(len(body), **changes), by=Precedence(app))
    ((asked, length),) = app.asked
    assert length in (len(asked), -1)
    return asked


@pytest.mark.parametrize("parts", [1, 2, 5])
async def test_a_small_request_precedes_and_is_the_same(parts: int) -> None:
    asked = {"input": [[1, 2, 3]], "model": "m"}

    got = await seen(json.dumps(asked).encode(), parts=parts)

    assert json.loads(got) == asked | {"priority": 1}


async def test_a_priority_of_ones_own_counts() -> None:
    assert json.loads(await seen(b'{"input":"a","priority":-3}'))["priority"] == -3


@pytest.mark.parametrize("body", [b"{}", b"{", b"[1]", b'"text"', b" {}", b"\xff\xfe"])
async def test_what_is_no_request_is_refused_by_the_application_as_ever(body: bytes) -> None:
    assert (await seen(body)).strip() == body.strip()


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "/encode"},
        {"method": "GET"},
        {"headers": []},
        {"headers": [(b"content-length", b"7"), (b"content-length", b"7")]},
        {"headers": [(b"content-length", b"x")]},
        {"headers": [(b"content-length", b"7"), (b"content-encoding", b"gzip")]},
        {"headers": [(b"content-length", str(MAX_BYTES + 1).encode())]},
    ],
    ids=str,
)
async def test_all_else_passes_as_it_comes(changes: dict[str, Any]) -> None:
    app = App()
    asked = {**scope(7), **changes}

    async def application(passed: Message, *_: Any) -> None:
        assert passed is asked
        app.asked.append((b"", 0))

    await Precedence(application)(asked, None, None)  # type: ignore[arg-type]

    assert app.asked


async def test_so_many_at_once_and_no_more() -> None:
    app = App(waits=True)
    precedence = Precedence(app)
    body = b'{"input":"' + b"a" * (MAX_BYTES // 2 - 20) + b'"}'
    tasks = [
        asyncio.create_task(ask(app, [body], scope(len(body)), by=precedence)) for _ in range(3)
    ]
    for _ in tasks:
        await app.arrivals.get()

    assert [b"priority" in asked for asked, _ in app.asked] == [True, True, False]

    app.let_go.set()
    await asyncio.gather(*tasks)
    await ask(app, [body], scope(len(body)), by=precedence)
    assert b"priority" in app.asked[-1][0]


async def test_a_question_does_not_wait_behind_all_that_a_run_has_there(
    sglang_server: RunningServer,
) -> None:
    endpoint = sglang_server.server.endpoint
    done: list[str] = []

    async def embed(name: str, *, num_inputs: int) -> None:
        body = {"input": [[5 + len(name)] * 1000] * num_inputs, "model": "m"}
        answer = await http.post(
            f"{endpoint.url}/v1/embeddings", json=body, headers=endpoint.bearer()
        )
        assert answer.status_code == 200, answer.text
        done.append(name)

    async with httpx.AsyncClient(timeout=280) as http:
        run = [asyncio.create_task(embed("run", num_inputs=14)) for _ in range(8)]
        await asyncio.wait(run, return_when=asyncio.FIRST_COMPLETED)
        # By now the others wait at the server: in their order, this would come last.
        await embed("question", num_inputs=1)
        await asyncio.gather(*run)

    assert done.index("question") <= 5, done
