"""Servers that somebody else runs: what is asked of them, and what their failures are called."""

import socket
from collections.abc import Awaitable, Callable, Sequence
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
    compresses_wrongly,
    drips,
    embeds,
    floods,
    floods_compressed,
    misbehaving_server,
    reply,
    says,
    vector_of,
)
from pydantic import SecretStr

from embed_index.pipeline.embedding.description import same_model
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.faults import BusyServerError
from embed_index.pipeline.embedding.preflight import ServerAccess, check_access
from embed_index.pipeline.embedding.wire import ServerDialect
from embed_index.schemas.errors import ConfigurationError, ServerError

SGLANG = {
    "/model_info": {"model_path": "/models/Qwen3-Embedding-4B"},
    "/v1/models": {"data": [{"id": "qwen", "root": "/models/x", "max_model_len": 32_776}]},
    "/server_info": {"version": "0.5.23", "dtype": "bfloat16", "max_total_num_tokens": 65_536},
}

LLAMA_CPP = {
    "/v1/models": {
        "data": [
            {
                "id": "/models/Qwen3-Embedding-4B-Q8_0.gguf",
                "owned_by": "llamacpp",
                "meta": {"n_ctx": 2048, "n_ctx_train": 32_768, "ftype": "Q8_0"},
            }
        ]
    }
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
    max_tokens: int | None = None,
    first: Sequence[Behaviour] = (),
    waits: list[float] | None = None,
    answer_seconds: float = 20,
) -> ServerAccess:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    async with misbehaving_server(*first, always=behaviour) as server:
        return await check_access(
            EmbeddingEndpoint.from_settings(server.url, key=SecretStr(key), model="m"),
            dimension=dimension,
            expected_model=expected_model,
            max_tokens=max_tokens,
            answer_seconds=0.5 if behaviour in (hangs, drips) else answer_seconds,
            sleep=sleep,
        )


async def test_an_sglang_server_that_cuts_lacks_nothing() -> None:
    assert await access(asks_for_the_key(SGLANG)) == ServerAccess(
        models=("/models/Qwen3-Embedding-4B", "qwen", "/models/x"),
        served_name="qwen",
        width=WIDTH,
        dialect=ServerDialect(cuts=True, takes_base64=True, counts_tokens=True),
        max_input_tokens=32_775,
        engine="sglang 0.5.23",
        dtype="bfloat16",
        missing=(),
    )


async def test_a_server_that_quantises_says_so_before_its_dtype() -> None:
    info = {"version": "0.5.23", "dtype": "bfloat16", "quantization": "fp8"}

    assert (await access(asks_for_the_key(SGLANG | {"/server_info": info}))).dtype == "fp8"


async def test_a_server_that_only_embeds_is_usable_and_says_what_it_lacks() -> None:
    def uncut(request: Request) -> Answer:
        return reply([vector_of(ids) for ids in request.body["input"]])

    found = await access(asks_for_the_key({}, embedding=uncut), expected_model="any")

    assert found.models == ()
    assert found.served_name == "m"
    assert found.dialect == ServerDialect(cuts=False, takes_base64=True, counts_tokens=False)
    assert (found.engine, found.dtype) == ("unknown", "unknown")
    assert len(found.missing) == 5


def numbers_only(request: Request) -> Answer:
    if {"encoding_format", "dimensions"} & request.body.keys():
        return Answer(status=422, body=b'{"detail":[{"msg":"extra fields not permitted"}]}')
    return reply([vector_of(ids) for ids in request.body["input"]])


async def test_a_server_that_refuses_base64_and_dimensions_is_usable() -> None:
    found = await access(asks_for_the_key({}, embedding=numbers_only))

    assert found.dialect == ServerDialect(cuts=False, takes_base64=False, counts_tokens=False)


def cuts_another_way(request: Request) -> Answer:
    width = request.body.get("dimensions", WIDTH)
    return reply([vector_of(ids)[-width:] for ids in request.body["input"]])


async def test_a_server_that_cuts_in_its_own_way_is_not_asked_to() -> None:
    found = await access(asks_for_the_key({}, embedding=cuts_another_way))

    assert not found.dialect.cuts


def texts_only(request: Request) -> Answer:
    if all(isinstance(text, str) for text in request.body["input"]):
        return reply([vector_of([1])])
    return Answer(status=400, body=b'{"error":{"message":"invalid input type"}}')


async def test_a_server_that_takes_no_token_ids_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigurationError, match="embeds texts and refuses token ids") as error:
        await access(asks_for_the_key({}, embedding=texts_only))
    assert "SGLang, vLLM" in error.value.remedy


def adds_a_token(request: Request) -> Answer:
    return reply([vector_of([1])], num_tokens=2)


async def test_a_server_that_adds_tokens_to_token_ids_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="adds tokens of its own"):
        await access(asks_for_the_key({}, embedding=adds_a_token))


async def test_llama_cpp_tells_its_precision() -> None:
    assert (await access(asks_for_the_key(LLAMA_CPP))).dtype == "Q8_0"


MANY = {"/v1/models": {"data": [{"id": "bge-m3"}, {"id": "qwen3-4b", "root": "/m/Qwen3-4B"}]}}


async def test_of_several_models_the_jobs_own_is_asked_for() -> None:
    def serves(request: Request) -> Answer:
        served = request.body["model"] == "qwen3-4b"
        return embeds(request) if served else Answer(status=404)

    found = await access(asks_for_the_key(MANY, embedding=serves), expected_model="Qwen/Qwen3-4B")

    assert found.served_name == "qwen3-4b"


async def test_a_model_that_none_of_the_listed_is_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="serves bge-m3, qwen3-4b, /m/Qwen3-4B, and"):
        await access(asks_for_the_key(MANY), expected_model="Qwen/Qwen3-Embedding-8B")


@pytest.mark.parametrize(
    ("describes", "longest"),
    [
        (SGLANG | {"/server_info": {"version": "0.5.23", "max_total_num_tokens": 4096}}, 4095),
        (SGLANG, 32_775),
        ({"/v1/models": {"data": [{"id": "m", "max_model_len": 512, "owned_by": "vllm"}]}}, 512),
        ({"/v1/models": {"data": [{"id": "m", "max_model_len": 512, "owned_by": "sglang"}]}}, 511),
        (LLAMA_CPP, 2047),
    ],
)
async def test_inputs_that_a_server_would_refuse_or_hang_on_are_refused_beforehand(
    describes: dict[str, Any], longest: int
) -> None:
    found = await access(asks_for_the_key(describes), max_tokens=longest)

    assert found.max_input_tokens == longest
    with pytest.raises(ConfigurationError, match=f"at most {longest:,} tokens"):
        await access(asks_for_the_key(describes), max_tokens=longest + 1)


async def test_a_busy_server_is_asked_again_when_it_says() -> None:
    waits: list[float] = []
    busy = [says(429, Retry_After="7"), says(503)]

    found = await access(asks_for_the_key(SGLANG), first=busy, waits=waits)

    assert found.width == WIDTH
    assert waits[0] == 7
    assert len(waits) == 2


def open_to_all(request: Request) -> Answer:
    return embeds(request)


def open_to_any_key(request: Request) -> Answer:
    return embeds(request) if "authorization" in request.headers else Answer(status=401)


HTML = (("Content-Type", "text/html"),)


def open_to_all_and_texts_only(request: Request) -> Answer:
    return Answer(status=422, body=b'{"detail":[{"msg":"Input should be a valid string"}]}')


def somebody_else(request: Request) -> Answer:
    return Answer(status=404, body=b"<html>no such page</html>", headers=HTML)


def login_page(request: Request) -> Answer:
    return Answer(body=b"<html>please log in</html>", headers=HTML)


def bad_gateway(request: Request) -> Answer:
    return Answer(status=502, body=b"<html>nginx</html>", headers=HTML)


def redirects(request: Request) -> Answer:
    return Answer(status=301, headers=(("Location", "https://user:pw@gpu-host/v1/embeddings?t=1"),))


def knows_the_key_and_forbids(request: Request) -> Answer:
    return Answer(status=403, body=b'{"error":"Forbidden"}')


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
        (open_to_all_and_texts_only, "reads requests without a key, and .* status 422"),
        (somebody_else, r"no /v1/embeddings at .* \(status 404: an HTML page\)"),
        (login_page, "answers with an HTML page instead of vectors"),
        (bad_gateway, "status 502 to a request without a key, where 401 was due: an HTML page"),
        (redirects, r"redirects to https://gpu-host/v1/embeddings \(status 301\)"),
        (says(429), "status 429 to a request without a key, .*again and again: no"),
        (knows_the_key_and_forbids, r"forbids what the key asks for \(status 403: Forbidden\)"),
        (asks_for_the_key({}, embedding=somebody_else), "no /v1/embeddings at"),
        (asks_for_the_key({}, embedding=fails), "status 400 .*: bad input for \\*\\*\\*"),
        (asks_for_the_key({}, embedding=not_embeddings), "answers wrongly"),
        (hangs, "does not answer in time"),
        (drips, "does not answer in time"),
        (floods, "gives an answer without an end"),
        (floods_compressed, "gives an answer without an end"),
        (compresses_wrongly, "compresses its answers, unasked, in a way that cannot be read"),
    ],
)
async def test_an_unusable_server_is_told_apart(behaviour: Behaviour, message: str) -> None:
    with pytest.raises(ServerError, match=message) as error:
        await access(behaviour)
    assert KEY not in str(error.value)
    assert error.value.remedy


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        (hangs, "is busy: it answers, and embedded nothing within 0 s"),
        (drips, "is busy: it answers, and embedded nothing within 0 s"),
        (says(429), "status 429 .* again and again"),
        (says(503), "status 503 .* again and again"),
    ],
)
async def test_a_server_that_guards_its_key_and_has_no_answer_to_spare_is_busy(
    embedding: Behaviour, message: str
) -> None:
    behaviour = asks_for_the_key({}, embedding=embedding)

    with pytest.raises(BusyServerError, match=message):
        await access(behaviour, answer_seconds=0.4)


@pytest.mark.parametrize("behaviour", [hangs, drips, somebody_else])
async def test_a_server_that_answers_nothing_of_use_is_not_called_busy(
    behaviour: Behaviour,
) -> None:
    with pytest.raises(ServerError) as caught:
        await access(behaviour, answer_seconds=0.4)
    assert not isinstance(caught.value, BusyServerError)


async def test_a_key_that_a_long_answer_repeats_is_not_shown_in_part() -> None:
    def fails_at_length(request: Request) -> Answer:
        return Answer(status=400, body=orjson.dumps({"message": f"{'x' * 190} {KEY}"}))

    with pytest.raises(ServerError, match="status 400") as error:
        await access(asks_for_the_key({}, embedding=fails_at_length))
    assert KEY[:8] not in str(error.value)


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


async def closed_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    await check(f"http://127.0.0.1:{port}")


async def unknown_name() -> None:
    await check("http://no-such-host.invalid")


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (closed_port, "the connection is refused"),
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
        ("Qwen/Qwen3-Embedding-0.6B", "/m/models/Qwen/Qwen3-Embedding-0___6B", True),
        ("Qwen/Qwen3-Embedding-0.6B", "/m/Qwen--Qwen3-Embedding-0.6B/snapshots/master", True),
        ("Qwen/Qwen3-Embedding-0.6B", "/m/Qwen--Qwen3-Embedding-0___6B/snapshots/ab12/", True),
        ("/m/Qwen--Qwen3-Embedding-4B/snapshots/ab", "Qwen/Qwen3-Embedding-4B", True),
        ("Qwen/Qwen3-Embedding-4B", "/m/Qwen--Qwen3-Embedding-0___6B/snapshots/ab12", False),
        ("Qwen/Qwen3-Embedding-4B", "/my--models/Qwen3-Embedding-4B", True),
        ("Qwen/Qwen3-Embedding-4B", "/models/Qwen3-Embedding-4B-Q8_0.gguf", True),
        ("Qwen/Qwen3-Embedding-4B", "qwen3-embedding-4b.IQ4_XS.gguf", True),
        ("Qwen/Qwen3-Embedding-4B", "Qwen/Qwen3-Embedding-4B-GGUF:BF16", True),
        ("Qwen/Qwen3-Embedding-4B", "/models/Qwen3-Embedding-0.6B-f16.gguf", False),
        ("Qwen/Qwen3-Embedding-4B", "/models/f16.gguf", False),
        ("/models/bge-f16", "/models/bge-q8_0", False),
    ],
)
def test_a_model_is_known_by_its_last_name(expected: str, named: str, same: bool) -> None:
    assert same_model(expected, named) is same
