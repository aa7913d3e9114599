import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import orjson
import pytest
from misbehaving_server import (
    KEY,
    WIDTH,
    Answer,
    Behaviour,
    MisbehavingServer,
    Request,
    compresses_wrongly,
    drops,
    embeds,
    floods,
    hangs,
    in_base64,
    misbehaving_server,
    reply,
    says,
    vector_of,
)
from pydantic import SecretStr

from embed_index.pipeline.embedding import failures
from embed_index.pipeline.embedding.backoff import Backoff, retry_after_seconds
from embed_index.pipeline.embedding.client import (
    ClientLimits,
    EmbeddingClient,
)
from embed_index.pipeline.embedding.embedder import RequestRefusedError
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.wire import ServerDialect
from embed_index.schemas.errors import ConfigurationError, ServerError
from embed_index.schemas.records import TokenIds

RETRY = Backoff(
    max_attempts=4, first_ceiling_seconds=1.0, max_ceiling_seconds=2.0, deadline_seconds=100.0
)
FULL = ServerDialect()
LIMITS = ClientLimits(vocab_size=1000, max_tokens=100, answer_seconds=20.0)


def ids(*values: int) -> TokenIds:
    return np.array(values, dtype=np.int32)


def expected(*inputs: TokenIds, width: int = WIDTH) -> Any:
    cut = np.array([vector_of(i.tolist())[:width] for i in inputs])
    return pytest.approx(cut / np.linalg.norm(cut, axis=1)[:, None], abs=1e-6)


class Waits:
    """Stands in for asyncio.sleep and remembers how long it was told to."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


Connect = Callable[..., Any]


@pytest.fixture
def connect(waits: Waits) -> Connect:
    """A server that follows a script, and a client of it."""

    @asynccontextmanager
    async def opened(
        *script: Behaviour,
        always: Behaviour = embeds,
        limits: ClientLimits = LIMITS,
        dialect: ServerDialect = FULL,
        tell: Callable[[str], None] = lambda _: None,
    ) -> AsyncIterator[tuple[MisbehavingServer, EmbeddingClient]]:
        async with misbehaving_server(*script, always=always) as server:
            endpoint = EmbeddingEndpoint.from_settings(server.url, key=SecretStr(KEY), model="m")
            async with EmbeddingClient(
                endpoint, limits=limits, retry=RETRY, dialect=dialect, sleep=waits, tell=tell
            ) as client:
                yield server, client

    return opened


async def test_vectors_come_in_the_order_of_the_inputs_at_unit_length(connect: Connect) -> None:
    async with connect() as (server, client):
        vectors = await client.embed([ids(1, 2), ids(3)], dimension=4)

    assert vectors.dtype == np.float32
    assert vectors == expected(ids(1, 2), ids(3), width=4)
    (request,) = server.requests
    assert (request.method, request.route) == ("POST", "/v1/embeddings")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "input": [[1, 2], [3]],
        "model": "m",
        "encoding_format": "base64",
        "dimensions": 4,
    }


async def test_nothing_is_asked_for_no_inputs(connect: Connect) -> None:
    async with connect() as (server, client):
        assert (await client.embed([], dimension=4)).shape == (0, 4)
    assert server.requests == []


async def test_one_connection_is_kept_for_one_request_after_another(connect: Connect) -> None:
    async with connect() as (server, client):
        for value in range(5):
            await client.embed([ids(value)], dimension=4)
    assert server.num_connections == 1


async def test_a_server_that_cannot_cut_is_asked_for_all_and_its_vectors_are_cut_here(
    connect: Connect,
) -> None:
    async with connect(dialect=ServerDialect(cuts=False)) as (server, client):
        vectors = await client.embed([ids(5)], dimension=4)

    assert vectors == expected(ids(5), width=4)
    assert "dimensions" not in server.requests[0].body


async def test_a_server_without_base64_is_not_asked_for_it(connect: Connect) -> None:
    def numbers(request: Request) -> Answer:
        return reply([vector_of(input_) for input_ in request.body["input"]])

    async with connect(always=numbers, dialect=ServerDialect(takes_base64=False)) as (
        server,
        client,
    ):
        assert await client.embed([ids(5)], dimension=WIDTH) == expected(ids(5))

    assert "encoding_format" not in server.requests[0].body


async def test_an_input_that_the_server_cut_unasked_is_refused(connect: Connect) -> None:
    def cuts_to_three(request: Request) -> Answer:
        return embeds(request, max_tokens=3)

    async with connect(always=cuts_to_three, dialect=ServerDialect(counts_tokens=True)) as (
        _,
        client,
    ):
        assert await client.embed([ids(1, 2, 3)], dimension=WIDTH) == expected(ids(1, 2, 3))
        with pytest.raises(RequestRefusedError, match=r"altered_input: .* 3 tokens of 4 sent"):
            await client.embed([ids(1, 2, 3, 4)], dimension=WIDTH)


@pytest.mark.parametrize("status", [408, 424, 429, 500, 502, 503])
async def test_a_busy_or_failing_server_is_asked_again_after_a_random_wait(
    connect: Connect, waits: Waits, status: int
) -> None:
    async with connect(says(status), says(status)) as (server, client):
        assert await client.embed([ids(1)], dimension=WIDTH) == expected(ids(1))

    assert len(server.requests) == 3
    first, second = waits.seconds
    assert 0 <= first <= 1
    assert 0 <= second <= 2


async def test_the_wait_that_a_server_asks_for_is_kept(connect: Connect, waits: Waits) -> None:
    async with connect(says(429, Retry_After="7")) as (_, client):
        await client.embed([ids(1)], dimension=WIDTH)
    assert waits.seconds == [7]


async def test_a_wait_until_a_date_is_kept(connect: Connect, waits: Waits) -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    async with connect(says(503, Retry_After=in_a_minute)) as (_, client):
        await client.embed([ids(1)], dimension=WIDTH)
    assert 30 < waits.seconds[0] <= 60


@pytest.mark.parametrize("header", ["", "soon", "-5", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_wait_that_makes_no_sense_is_none(header: str) -> None:
    assert retry_after_seconds(header, now=datetime.now(UTC)) == 0


async def test_a_redirect_is_not_followed_and_takes_the_key_nowhere(connect: Connect) -> None:
    async with misbehaving_server() as elsewhere:
        moved = says(307, Location=f"{elsewhere.url}/v1/embeddings")
        async with connect(always=moved) as (_, client):
            with pytest.raises(ServerError, match="status 307"):
                await client.embed([ids(1)], dimension=WIDTH)

    assert elsewhere.requests == []
    assert elsewhere.num_connections == 0


async def test_a_dropped_connection_is_replaced_at_once(connect: Connect, waits: Waits) -> None:
    async with connect(embeds, drops) as (server, client):
        await client.embed([ids(1)], dimension=WIDTH)
        assert await client.embed([ids(2)], dimension=WIDTH) == expected(ids(2))

    assert waits.seconds == []
    assert server.num_connections == 2


async def test_connections_that_keep_being_dropped_are_waited_for(
    connect: Connect, waits: Waits
) -> None:
    async with connect(drops, drops, drops) as (_, client):
        await client.embed([ids(1)], dimension=WIDTH)
    assert len(waits.seconds) == 2


async def test_a_server_that_hangs_is_asked_again(connect: Connect, waits: Waits) -> None:
    limits = ClientLimits(vocab_size=10, max_tokens=10, answer_seconds=0.2)
    async with connect(hangs, limits=limits) as (server, client):
        assert await client.embed([ids(1)], dimension=WIDTH) == expected(ids(1))

    assert len(server.requests) == 2
    assert len(waits.seconds) == 1


async def test_long_inputs_in_flight_are_given_more_time(connect: Connect, waits: Waits) -> None:
    limits = ClientLimits(
        vocab_size=10, max_tokens=100, answer_seconds=0.0, min_tokens_per_second=10.0
    )
    async with connect(limits=limits) as (_, client):
        await client.embed([np.ones(100, dtype=np.int32)], dimension=WIDTH)
    assert waits.seconds == []


@pytest.mark.parametrize("failure", [says(424), says(500), compresses_wrongly, floods])
async def test_a_server_that_keeps_failing_is_given_up(
    connect: Connect, failure: Behaviour
) -> None:
    async with connect(always=failure) as (server, client):
        with pytest.raises(ServerError, match=r"failed 4 times") as error:
            await client.embed([ids(1)], dimension=WIDTH)

    assert len(server.requests) == 4
    assert server.url in str(error.value)
    assert KEY not in str(error.value)


async def test_a_wait_that_would_pass_the_deadline_is_not_begun(
    connect: Connect, waits: Waits
) -> None:
    async with connect(says(503, Retry_After="101")) as (_, client):
        with pytest.raises(ServerError, match="status 503"):
            await client.embed([ids(1)], dimension=WIDTH)
    assert waits.seconds == []


@pytest.mark.parametrize("away", [says(429), says(502), says(503), drops])
async def test_a_server_that_is_away_is_waited_for_however_often_it_fails(
    connect: Connect, away: Behaviour
) -> None:
    async with connect(*[away] * 20) as (server, client):
        assert await client.embed([ids(1)], dimension=WIDTH) == expected(ids(1))
    assert len(server.requests) == 21


async def test_a_server_that_stays_away_is_told_of_once_and_so_is_its_return(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "_TELL_SECONDS", 0.0)
    told: list[str] = []
    async with connect(*[says(503)] * 6, tell=told.append) as (server, client):
        await asyncio.gather(*(client.embed([ids(n)], dimension=WIDTH) for n in (1, 2)))
        await client.embed([ids(3)], dimension=WIDTH)

    away, back = told
    assert away.startswith(f"the embedding server at {server.url} has failed for 0 s (status 503);")
    assert back == f"the embedding server at {server.url} answers again"


async def test_passing_trouble_is_not_worth_a_word(connect: Connect) -> None:
    told: list[str] = []
    async with connect(says(503), drops, tell=told.append) as (_, client):
        await client.embed([ids(1)], dimension=WIDTH)
    assert told == []


async def test_a_server_that_is_not_there_is_a_server_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    endpoint = EmbeddingEndpoint.from_settings(url, key=SecretStr(KEY), model="m")
    brief = Backoff(max_attempts=1, first_ceiling_seconds=0.05, deadline_seconds=0.3)
    async with EmbeddingClient(endpoint, limits=LIMITS, retry=brief) as client:
        with pytest.raises(ServerError, match=r"failed \d+ times in .*no connection"):
            await client.embed([ids(1)], dimension=WIDTH)


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "refused the key"), (403, "refused the key"), (404, "status 404"), (302, "status 302")],
)
async def test_what_no_repetition_can_mend_is_a_server_error_at_once(
    connect: Connect, status: int, message: str
) -> None:
    async with connect(always=says(status)) as (server, client):
        with pytest.raises(ServerError, match=message):
            await client.embed([ids(1)], dimension=WIDTH)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refusal_keeps_nothing_of_the_servers_words(connect: Connect, status: int) -> None:
    echo = Answer(status=status, body=b'{"message":"bad input: the secret document"}')
    async with connect(always=lambda _: echo) as (server, client):
        with pytest.raises(RequestRefusedError) as refusal:
            await client.embed([ids(1)], dimension=WIDTH)

    assert len(server.requests) == 1
    assert refusal.value.reason == f"refused_{status}"
    assert "document" not in f"{refusal.value} {refusal.value.__cause__}"


def short_count(request: Request) -> Answer:
    return reply([])


def too_wide(request: Request) -> Answer:
    return reply([in_base64(vector_of(i, WIDTH + 1)) for i in request.body["input"]])


def twice_the_same_index(request: Request) -> Answer:
    entry = {"index": 0, "embedding": in_base64(vector_of([1]))}
    return Answer(body=orjson.dumps({"data": [entry, entry]}))


def not_json(request: Request) -> Answer:
    return Answer(body=b"<html>welcome</html>")


@pytest.mark.parametrize("wrong", [short_count, too_wide, twice_the_same_index, not_json])
async def test_a_server_that_keeps_answering_wrongly_is_a_server_error(
    connect: Connect, wrong: Behaviour
) -> None:
    async with connect(wrong, wrong) as (_, client):
        assert await client.embed([ids(1), ids(2)], dimension=WIDTH) == expected(ids(1), ids(2))
    async with connect(always=wrong) as (server, client):
        with pytest.raises(ServerError, match="keeps answering wrongly"):
            await client.embed([ids(1), ids(2)], dimension=WIDTH)
    assert len(server.requests) == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
async def test_an_input_without_a_usable_vector_is_refused(connect: Connect, value: float) -> None:
    bad = reply([in_base64([value] * WIDTH)])
    async with connect(always=lambda _: bad) as (server, client):
        with pytest.raises(RequestRefusedError, match="unusable_vector"):
            await client.embed([ids(1)], dimension=WIDTH)
    assert len(server.requests) == 2


async def test_a_reply_names_the_inputs_without_a_usable_vector(connect: Connect) -> None:
    good = vector_of([1])
    bad = reply([in_base64(vector) for vector in (good, [0.0] * WIDTH, good, [0.0] * WIDTH)])
    async with connect(always=lambda _: bad) as (server, client):
        with pytest.raises(RequestRefusedError, match="unusable_vector: 2 of 4") as refusal:
            await client.embed([ids(n) for n in range(4)], dimension=WIDTH)
    assert refusal.value.places == (1, 3)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("token_ids", "reason"),
    [
        (ids(), "no_tokens"),
        (np.ones((1, 2), dtype=np.int32), "no_tokens"),
        (ids(1, -1), "token_out_of_range"),
        (ids(1, 1000), "token_out_of_range"),
        (np.ones(101, dtype=np.int32), "too_many_tokens"),
    ],
)
async def test_ids_that_would_harm_the_server_never_leave(
    connect: Connect, token_ids: TokenIds, reason: str
) -> None:
    async with connect() as (server, client):
        with pytest.raises(RequestRefusedError) as refusal:
            await client.embed([ids(1), token_ids], dimension=WIDTH)
    assert (refusal.value.reason, refusal.value.places) == (reason, (1,))
    assert server.requests == []


async def test_the_largest_id_and_the_longest_input_pass(connect: Connect) -> None:
    longest = np.full(100, 999, dtype=np.int32)
    async with connect() as (_, client):
        assert await client.embed([longest], dimension=WIDTH) == expected(longest)


async def test_a_cancelled_request_leaves_a_usable_client(connect: Connect) -> None:
    async with connect(hangs) as (server, client):
        request = asyncio.create_task(client.embed([ids(1)], dimension=WIDTH))
        await server.got_request.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert await client.embed([ids(2)], dimension=WIDTH) == expected(ids(2))


async def test_the_key_shows_nowhere_even_at_debug_level(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with connect(says(500), drops, always=says(401)) as (_, client):
        with pytest.raises(ServerError) as error:
            await client.embed([ids(1)], dimension=WIDTH)
        shown = [repr(client), repr(client._endpoint), repr(error.value), str(error.value)]
    assert caplog.records
    shown += [record.getMessage() for record in caplog.records] + [caplog.text]
    assert not [text for text in shown if KEY in text]


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_an_address_may_end_in_v1(url: str) -> None:
    endpoint = EmbeddingEndpoint.from_settings(url, key=SecretStr(KEY), model="m")
    assert endpoint.url == "http://h:1"


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("h:1", KEY),
        ("ftp://h", KEY),
        ("http://", KEY),
        (f"http://user:{KEY}@h", KEY),
        ("http://h?x=1", KEY),
        ("http://h:99999", KEY),
        ("http://h:port", KEY),
        ("http://h", ""),
        ("http://h", f"{KEY}é"),
        ("http://h", f"{KEY}\n"),
    ],
)
def test_an_unusable_address_or_key_is_refused_without_being_repeated(url: str, key: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        EmbeddingEndpoint.from_settings(url, key=SecretStr(key), model="m")
    assert KEY not in str(error.value)
