"""What keys with a scope or a rate get from a gate, and what is written down of it."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from embed_index.pipeline.secrecy.keyring import hash_key
from embed_index.pipeline.server.access_log import AccessLog
from embed_index.pipeline.server.admission import Admission
from embed_index.pipeline.server.gate import KeyGate, Message, Receive, Send
from embed_index.pipeline.server.query_scope import MAX_BODY_BYTES, MAX_INPUTS

INNER = "ei-inner-of-sglang"
KEYS = {
    "full": hash_key(SecretStr("ei-full"), name="full"),
    "queries": hash_key(SecretStr("ei-queries"), name="queries", query_only=True),
    "twice": hash_key(SecretStr("ei-twice"), name="twice", per_minute=2),
    "owner": hash_key(SecretStr("ei-owner"), name=""),
}
TEXT = "a text that nobody may read"


@dataclass(slots=True)
class Behind:
    """An application that answers at once, and remembers what reached it."""

    requests: list[tuple[str, dict[bytes, bytes], bytes]] = field(default_factory=list)
    usage: bytes = b'{"data":[],"usage":{"prompt_tokens":17,"total_tokens":17}}'
    status: int = 200

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.requests.append((scope["path"], dict(scope["headers"]), body))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.usage})


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
async def http(behind: Behind, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    gate: Any = KeyGate(
        behind,
        admission=Admission(KEYS.values()),
        inner_key=INNER,
        log=AccessLog(tmp_path / "access.log"),
    )
    transport = httpx.ASGITransport(gate)
    async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:
        yield client


def of(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer ei-{key}"}


def logged(folder: Path) -> list[tuple[str, int | None, int | None]]:
    lines = (folder / "access.log").read_text().splitlines()
    return [tuple(list(json.loads(line).values())[1:]) for line in lines]


async def test_what_is_behind_sees_its_own_key_and_no_other(
    http: httpx.AsyncClient, behind: Behind
) -> None:
    for key in ("full", "owner"):
        await http.post("/any", headers=of(key), content=b"as it is")
    await http.get("/health", headers=of("full"))

    assert [headers.get(b"authorization") for _, headers, _ in behind.requests] == [
        *[f"Bearer {INNER}".encode()] * 2,
        None,
    ]
    assert [body for *_, body in behind.requests[:2]] == [b"as it is"] * 2


async def test_sglangs_own_key_opens_its_warm_up_once_and_nothing_else(
    http: httpx.AsyncClient, behind: Behind
) -> None:
    inner = {"Authorization": f"Bearer {INNER}"}
    asked = [("GET", "/model_info"), ("POST", "/encode"), ("POST", "/freeze_gc")]
    others = [("POST", "/model_info"), ("GET", "/server_info"), ("POST", "/v1/embeddings")]

    first = [(await http.request(*route, headers=inner)).status_code for route in asked]
    again = [(await http.request(*route, headers=inner)).status_code for route in asked]
    other = [(await http.request(*route, headers=inner)).status_code for route in others]
    nobody = [(await http.request(*route)).status_code for route in asked]

    assert (first, again, other, nobody) == ([200] * 3, [401] * 3, [401] * 3, [401] * 3)
    assert len(behind.requests) == 3


async def test_a_rate_is_kept_and_says_when_to_ask_again(
    http: httpx.AsyncClient, behind: Behind
) -> None:
    answers = [await http.get("/v1/models", headers=of("twice")) for _ in range(3)]
    others = await http.get("/v1/models", headers=of("full"))

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 50 < int(answers[2].headers["Retry-After"]) <= 60
    assert answers[2].json() == {"error": "too many requests for this key"}
    assert others.status_code == 200
    assert len(behind.requests) == 3


@pytest.mark.parametrize(
    "asked",
    [
        {"input": TEXT},
        {"input": [TEXT] * MAX_INPUTS, "model": "m"},
        {"input": [5, 6, 7], "encoding_format": "base64", "dimensions": 64, "user": "u"},
        {"input": [[5, 6], [7]]},
    ],
)
async def test_a_query_reaches_the_server_with_a_key_for_queries(
    http: httpx.AsyncClient, behind: Behind, asked: dict[str, object]
) -> None:
    answer = await http.post("/v1/embeddings", headers=of("queries"), json=asked)

    assert answer.status_code == 200
    (path, headers, body) = behind.requests[0]
    assert (path, orjson.loads(body)) == ("/v1/embeddings", asked)
    assert int(headers[b"content-length"]) == len(body)


SHAPES_BEYOND: list[dict[str, object]] = [
    {"input": ["a"] * (MAX_INPUTS + 1)},
    {"input": [[5]] * (MAX_INPUTS + 1)},
    {"input": []},
    {"input": [[]]},
    {"input": [[1, 2], [3, -1]]},
    {"input": [-1]},
    {"input": [True]},
    {"input": [[1.5]]},
    {"input": None},
    {"input": {"text": "a"}},
    {"input": [{"image": "file:///etc/passwd"}]},
    {"input": "a", "lora_path": "/x"},
    {"input": "a", "rid": "r"},
]
BEYOND: list[tuple[int, bytes]] = [
    (413, orjson.dumps({"input": "x" * MAX_BODY_BYTES})),
    (400, b"{"),
    (400, b""),
    (403, b"[1]"),
    (403, b"{}"),
    *((403, orjson.dumps(asked)) for asked in SHAPES_BEYOND),
]


@pytest.mark.parametrize(("status", "body"), BEYOND, ids=[str(body[:40]) for _, body in BEYOND])
async def test_more_than_a_query_is_refused(
    http: httpx.AsyncClient, behind: Behind, status: int, body: bytes
) -> None:
    answer = await http.post("/v1/embeddings", headers=of("queries"), content=body)

    assert answer.status_code == status
    assert behind.requests == []
    assert (await http.post("/v1/embeddings", headers=of("full"), content=body)).status_code == 200


async def test_a_field_that_comes_twice_is_read_by_nobody_in_another_way(
    http: httpx.AsyncClient, behind: Behind
) -> None:
    body = b'{"input": [[]], "input": "the last one"}'

    await http.post("/v1/embeddings", headers=of("queries"), content=body)

    assert behind.requests[0][2] == b'{"input":"the last one"}'


async def test_who_asked_is_written_and_not_what(
    http: httpx.AsyncClient, behind: Behind, tmp_path: Path
) -> None:
    body = {"input": TEXT}
    await http.post("/v1/embeddings", headers=of("full"), json=body)
    await http.get("/server_info", headers=of("queries"))
    for _ in range(3):
        await http.get("/v1/models?query=secret", headers=of("twice"))
    await http.post("/v1/embeddings", headers=of("nobody"), json=body)
    await http.post("/v1/embeddings", headers=of("owner"), json=body)
    await http.get("/health")
    behind.status = 400
    await http.post("/v1/embeddings", headers=of("queries"), json=body)

    assert logged(tmp_path) == [
        ("full", 200, 17),
        ("queries", 403, None),
        ("twice", 200, 17),
        ("twice", 200, 17),
        ("twice", 429, None),
        ("-", 401, None),
        ("queries", 400, None),
    ]
    text = (tmp_path / "access.log").read_text()
    assert not [secret for secret in (TEXT, "ei-", "secret", "/v1", "Bearer") if secret in text]
