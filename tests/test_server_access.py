"""Servers that somebody else runs: what is asked of them, and what their failures are called."""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from misbehaving_server import (
    KEY,
    WIDTH,
    Answer,
    Behaviour,
    Hang,
    Request,
    embeds,
    misbehaving_server,
    reply,
    vector_of,
)
from pydantic import SecretStr

from embed_index.pipeline.embedding_endpoint import EmbeddingEndpoint
from embed_index.pipeline.server_access import ServerAccess, check_access, same_model
from embed_index.schemas.errors import ConfigurationError, ServerError

SGLANG = {
    "/model_info": {"model_path": "/models/Qwen3-Embedding-4B"},
    "/v1/models": {"data": [{"id": "qwen", "root": "/models/x", "max_model_len": 32_776}]},
    "/server_info": {"version": "0.5.23", "api_key": KEY},
}


def asks_for_the_key(describes: dict[str, Any], embedding: Behaviour = embeds) -> Behaviour:
    def answer(request: Request) -> Any:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return Answer(status=401)
        if request.route == "/v1/embeddings":
            return embedding(request)
        if request.route in describes:
            return Answer(body=orjson.dumps(describes[request.route]))
        return Answer(status=404)

    return answer


async def access(
    behaviour: Behaviour,
    *,
    key: str = KEY,
    dimension: int | None = 4,
    expected_model: str | None = None,
) -> ServerAccess:
    async with misbehaving_server(always=behaviour) as server:
        return await check_access(
            EmbeddingEndpoint.from_settings(server.url, key=SecretStr(key), model="m"),
            dimension=dimension,
            expected_model=expected_model,
            answer_seconds=0.5,
        )


async def test_a_stock_sglang_server_lacks_nothing() -> None:
    assert await access(asks_for_the_key(SGLANG)) == ServerAccess(
        models=("/models/Qwen3-Embedding-4B", "qwen", "/models/x"),
        width=WIDTH,
        server_cuts=True,
        max_input_tokens=32_775,
        engine="sglang 0.5.23",
        missing=(),
    )


async def test_a_server_that_only_embeds_is_usable_and_says_what_it_lacks() -> None:
    def uncut(request: Request) -> Answer:
        return reply([vector_of(ids) for ids in request.body["input"]])

    found = await access(asks_for_the_key({}, embedding=uncut), expected_model="any")

    assert found.models == ()
    assert not found.server_cuts
    assert found.engine == "unknown"
    assert len(found.missing) == 4


def open_to_all(request: Request) -> Answer:
    return embeds(request)


def open_to_any_key(request: Request) -> Answer:
    return embeds(request) if "authorization" in request.headers else Answer(status=401)


def somebody_else(request: Request) -> Answer:
    return Answer(status=404, body=b"<html>")


def fails(request: Request) -> Answer:
    return Answer(status=400, body=orjson.dumps({"message": f"bad input for {KEY}"}))


def not_embeddings(request: Request) -> Answer:
    return Answer(body=b"{}")


def hangs(request: Request) -> Hang:
    return Hang()


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (open_to_all, "answers requests without a key"),
        (open_to_any_key, "answers requests with a wrong key"),
        (somebody_else, "status 404"),
        (asks_for_the_key({}, embedding=fails), "status 400 .*: bad input for <redacted>"),
        (asks_for_the_key({}, embedding=not_embeddings), "answers wrongly"),
        (hangs, "does not answer in time"),
    ],
)
async def test_an_unusable_server_is_told_apart(behaviour: Behaviour, message: str) -> None:
    with pytest.raises(ServerError, match=message) as error:
        await access(behaviour)
    assert KEY not in str(error.value)
    assert error.value.remedy


async def test_a_refused_key_is_named_as_such_and_not_repeated() -> None:
    with pytest.raises(ServerError, match="refuses the key") as error:
        await access(asks_for_the_key(SGLANG), key="another-key")
    assert "another-key" not in str(error.value)


async def test_another_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="serves /models/Qwen3-Embedding-4B"):
        await access(asks_for_the_key(SGLANG), expected_model="Qwen/Qwen3-Embedding-8B")


async def test_a_dimension_above_the_models_width_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=f"dimension is {WIDTH + 1}"):
        await access(asks_for_the_key(SGLANG), dimension=WIDTH + 1)


async def check(url: str) -> ServerAccess:
    return await check_access(
        EmbeddingEndpoint.from_settings(url, key=SecretStr(KEY), model="m"), answer_seconds=5
    )


async def plain_as_tls() -> None:
    async with misbehaving_server() as server:
        await check(server.url.replace("http:", "https:"))


async def closed_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    await check(f"http://127.0.0.1:{port}")


async def unknown_name() -> None:
    await check("http://no-such-host.invalid")


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (plain_as_tls, "does not speak TLS"),
        (closed_port, "cannot be reached"),
        (unknown_name, r"host name in .* is not known"),
    ],
)
async def test_what_keeps_a_server_from_being_reached_is_named(
    attempt: Callable[[], Awaitable[None]], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ServerError, match=message):
        await attempt()


@pytest.mark.parametrize(
    ("expected", "named", "same"),
    [
        ("Qwen/Qwen3-Embedding-4B", "/models/qwen3-embedding-4b/", True),
        ("Qwen/Qwen3-Embedding-4B", "/h/models--Qwen--Qwen3-Embedding-4B/snapshots/ab", True),
        ("Qwen/Qwen3-Embedding-4B", "Qwen/Qwen3-Embedding-0.6B", False),
    ],
)
def test_a_model_is_known_by_its_last_name(expected: str, named: str, same: bool) -> None:
    assert same_model(expected, named) is same
