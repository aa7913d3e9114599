"""Another program on the port of our server is told nothing and believed in nothing."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import httpcore
import httpx
import numpy as np
import pytest
from impostor import (
    HONEST,
    MARK,
    SLY,
    Behaviour,
    Impostor,
    ask_gate,
    babbles,
    closes,
    embeds,
    gated_server,
    guesses,
    hangs,
    impostor_on,
    nonce_of,
    redirects,
    refuses_once,
)
from misbehaving_server import KEY, WIDTH, vector_of
from process_marks import wait_for
from pydantic import SecretStr
from sglang_fixtures import SAMPLE_WIDTH, StartServer, cpu_profile

from embed_index.pipeline.embedding import endpoint as endpoints
from embed_index.pipeline.embedding import proven
from embed_index.pipeline.embedding.backoff import Backoff
from embed_index.pipeline.embedding.client import ClientLimits, EmbeddingClient
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.preflight import check_access
from embed_index.pipeline.embedding.proven import ProvenTransport
from embed_index.pipeline.secrecy.keyring import Keyring, hash_key
from embed_index.pipeline.secrecy.proof import draw_nonce
from embed_index.pipeline.server.intrusion import takes_key
from embed_index.pipeline.server.life import Patience, ServerLife
from embed_index.pipeline.server.process import ManagedServer
from embed_index.schemas.errors import ServerError
from embed_index.schemas.records import TokenIds

LIMITS = ClientLimits(vocab_size=2 * MARK, max_tokens=512)
AT_ONCE = Backoff(deadline_seconds=0.0)
INPUTS: Sequence[TokenIds] = [np.array([MARK, 7], dtype=np.int32)]


def endpoint_on(port: int, key: str = KEY) -> EmbeddingEndpoint:
    return EmbeddingEndpoint.from_settings(
        f"http://127.0.0.1:{port}", key=SecretStr(key), model="m", is_ours=True
    )


def client_of(endpoint: EmbeddingEndpoint) -> EmbeddingClient:
    return EmbeddingClient(endpoint, limits=LIMITS, retry=AT_ONCE)


async def is_refused(embedding: Awaitable[object]) -> bool:
    try:
        await embedding
    except ServerError:
        return True
    return False


def assert_told_nothing(impostor: Impostor, key: str = KEY) -> None:
    assert impostor.num_requests > 0
    assert not impostor.was_told(key)
    assert not impostor.was_told(str(MARK))


# --- the client ------------------------------------------------------------------------------


async def test_an_impostor_is_told_the_key_in_none_of_a_thousand_tries() -> None:
    behaviours = cycle((*HONEST, *SLY))

    async def varies(impostor: Impostor, request: bytes) -> bytes | None:
        return await next(behaviours)(impostor, request)

    async with impostor_on(0, varies) as impostor, client_of(endpoint_on(impostor.port)) as client:
        refused = [await is_refused(client.embed(INPUTS, dimension=WIDTH)) for _ in range(1_000)]

    assert all(refused)
    assert impostor.num_requests >= 1_000
    assert_told_nothing(impostor)


@pytest.mark.parametrize("behaviour", [*HONEST, *SLY])
async def test_no_check_of_ours_believes_or_tells_an_impostor(behaviour: Behaviour) -> None:
    async with impostor_on(0, behaviour) as impostor:
        endpoint = endpoint_on(impostor.port)
        with pytest.raises(ServerError):
            await check_access(endpoint)
        assert not await takes_key(endpoint)

    assert_told_nothing(impostor)


async def test_an_impostor_that_says_nothing_is_waited_for_as_long_as_for_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoints, "_CONNECT_SECONDS", 0.05)
    async with impostor_on(0, hangs) as impostor, client_of(endpoint_on(impostor.port)) as client:
        assert await is_refused(client.embed(INPUTS, dimension=WIDTH))

    assert_told_nothing(impostor)


async def test_an_impostor_is_named_as_one() -> None:
    async with impostor_on(0, embeds) as impostor:
        with pytest.raises(ServerError, match="is not the embedding server: it does not know"):
            await check_access(endpoint_on(impostor.port))


# --- the gate --------------------------------------------------------------------------------


async def test_a_connection_that_is_closed_at_once_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a stream knows no addresses any more."""

    class Closed(httpcore.AsyncNetworkStream):
        def get_extra_info(self, info: str) -> None:
            assert info in ("client_addr", "server_addr")

        async def aclose(self) -> None:
            return

    async def connect(*_: object, **__: object) -> Closed:
        return Closed()

    monkeypatch.setattr(proven, "connect", connect)
    transport = ProvenTransport(known="0" * 64, limits=httpx.Limits())
    async with httpx.AsyncClient(transport=transport) as http:
        with pytest.raises(httpx.ConnectError, match="closed before the proof"):
            await http.get("http://127.0.0.1:1/")


async def test_a_server_with_the_key_is_used() -> None:
    async with gated_server(KEY) as port, client_of(endpoint_on(port)) as client:
        (vector,) = await client.embed(INPUTS, dimension=WIDTH)

    expected = np.array(vector_of([MARK, 7]))
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


async def test_a_server_with_another_key_is_told_nothing() -> None:
    async with gated_server("ei-another") as port:
        async with client_of(endpoint_on(port)) as client:
            assert await is_refused(client.embed(INPUTS, dimension=WIDTH))
        assert await takes_key(endpoint_on(port)) is False


async def test_a_server_of_ours_is_asked_about_a_key_that_is_not_its_own() -> None:
    async with gated_server(KEY) as port:
        assert await takes_key(endpoint_on(port), key=SecretStr("ei-another")) is False


@pytest.mark.parametrize("more", [(), ("X-Forwarded-For: {client}",), ("X-Forwarded-For: ::1",)])
async def test_a_proof_that_is_passed_on_from_a_real_server_proves_nothing(
    more: tuple[str, ...],
) -> None:
    """Worst case: the port that the client dialled, and the address from which it did."""
    released = asyncio.Event()
    ready = asyncio.Event()
    answers = []

    async def passes_on(impostor: Impostor, request: bytes) -> bytes:
        released.set()
        await ready.wait()
        named = [line.format(client=impostor.client) for line in more]
        answers.append(await ask_gate(impostor.port, nonce_of(request), *named))
        return answers[-1]

    async with (
        impostor_on(0, passes_on) as impostor,
        client_of(endpoint_on(impostor.port)) as client,
    ):
        embedding = asyncio.create_task(is_refused(client.embed(INPUTS, dimension=WIDTH)))
        await released.wait()
        assert impostor.listener is not None
        impostor.listener.close()
        async with gated_server(KEY, port=impostor.port):
            ready.set()
            assert await embedding

    assert [answer[9:12] for answer in answers] == [b"401" if more else b"200"]
    assert_told_nothing(impostor)


async def test_a_proof_that_was_heard_before_proves_nothing() -> None:
    async with gated_server(KEY) as port:
        heard = await ask_gate(port, draw_nonce().encode())
    assert heard.startswith(b"HTTP/1.1 200 OK")

    async def repeats(_: Impostor, __: bytes) -> bytes:
        return heard

    async with impostor_on(port, repeats) as impostor, client_of(endpoint_on(port)) as client:
        assert await is_refused(client.embed(INPUTS, dimension=WIDTH))

    assert_told_nothing(impostor)


# --- the managed server ----------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [embeds, refuses_once, redirects, babbles, guesses])
async def test_an_impostor_that_takes_the_port_while_the_model_loads_ends_the_start(
    new_server: StartServer, behaviour: Behaviour
) -> None:
    server = new_server()
    server.start()
    async with impostor_on(int(server.url.rpartition(":")[2]), behaviour) as impostor:
        with pytest.raises(ServerError, match=f"Another program answers on port {impostor.port}"):
            await server.wait_ready()

    assert not server.is_alive()
    assert_told_nothing(impostor, server.key.get_secret_value())


@pytest.mark.parametrize("behaviour", [closes, hangs])
async def test_an_impostor_that_does_not_answer_while_the_model_loads_is_told_nothing(
    sample_model: Path, tmp_path: Path, behaviour: Behaviour
) -> None:
    server = ManagedServer(cpu_profile(sample_model), log_folder=tmp_path, start_seconds=1.0)
    async with server, impostor_on(int(server.url.rpartition(":")[2]), behaviour) as impostor:
        with pytest.raises(ServerError, match="was not ready after 1 s"):
            await server.wait_ready()

    assert_told_nothing(impostor, server.key.get_secret_value())


async def try_all(server: ManagedServer, main: SecretStr, *, times: int) -> None:
    """Have everything of ours that sends a key ask whoever holds the port."""
    of_main = replace(server.endpoint, key=main)
    async with client_of(server.endpoint) as client:
        for number in range(times):
            # Each of these two makes a client, at many times the cost.
            if number % 100 == 0:
                assert not await takes_key(of_main)
            elif number % 100 == 1:
                assert await is_refused(check_access(of_main))
            else:
                assert await is_refused(client.embed(INPUTS, dimension=WIDTH))


async def test_an_impostor_while_a_server_loads_and_after_its_end_is_told_no_key_in_1000_tries(
    new_light_server: StartServer,
) -> None:
    """Before it starts nothing is asked: the port is found taken (`test_process`)."""
    main = SecretStr("ei-the-teams-own-key-0123456789")
    keyring = Keyring(hashed=(hash_key(main, name="(key)"),), secrets=(main,))
    behaviours = cycle((*HONEST, *SLY))

    async def varies(impostor: Impostor, request: bytes) -> bytes | None:
        return await next(behaviours)(impostor, request)

    server = new_light_server(keyring=keyring)
    server.start()
    async with impostor_on(int(server.url.rpartition(":")[2]), varies) as impostor:
        await try_all(server, main, times=500)
        # It ends of itself, since it does not get the port. What it asked itself with is nobody's.
        await asyncio.to_thread(wait_for, lambda: not server.is_alive())
        assert b"Bearer ei-" in impostor.told
        await try_all(server, main, times=500)

    assert impostor.num_requests >= 1_000
    for secret in (server.key, main):
        assert_told_nothing(impostor, secret.get_secret_value())


@pytest.mark.slow
async def test_an_impostor_while_sglang_itself_loads_is_told_no_key_of_ours(
    new_server: StartServer,
) -> None:
    main = SecretStr("ei-the-teams-own-key-0123456789")
    keyring = Keyring(hashed=(hash_key(main, name="(key)"),), secrets=(main,))
    server = new_server(keyring=keyring)
    server.start()
    async with impostor_on(int(server.url.rpartition(":")[2]), embeds) as impostor:
        await asyncio.to_thread(wait_for, lambda: not server.is_alive(), seconds=240)

    assert b"Bearer ei-" in impostor.told
    for secret in (server.key, main):
        assert not impostor.was_told(secret.get_secret_value())


@pytest.mark.parametrize(
    "maker", ["new_light_server", pytest.param("new_server", marks=pytest.mark.slow)]
)
async def test_an_impostor_that_takes_the_port_of_a_server_that_was_killed_is_told_nothing(
    request: pytest.FixtureRequest, maker: str
) -> None:
    make: StartServer = request.getfixturevalue(maker)
    server = make()
    server.start()
    await server.wait_ready()
    inputs = [np.full(300, 1_234, dtype=np.int32)]
    patience = Patience(answer_seconds=60, min_tokens_per_second=20)
    limits = ClientLimits(vocab_size=8_192, max_tokens=512)
    retry = Backoff(deadline_seconds=1.0, max_ceiling_seconds=0.05)
    async with (
        EmbeddingClient(server.endpoint, limits=limits, retry=retry) as client,
        ServerLife(server, client, patience=patience) as life,
    ):
        assert (await life.embed(inputs, dimension=SAMPLE_WIDTH)).shape == (1, SAMPLE_WIDTH)
        embedders: Sequence[Callable[..., Awaitable[object]]] = [life.embed] * 4 + [
            client.embed
        ] * 4
        in_flight = [
            asyncio.create_task(is_refused(embed(inputs * 8, dimension=SAMPLE_WIDTH)))
            for embed in embedders
        ]
        await asyncio.sleep(0)
        assert server.process_group is not None
        os.killpg(server.process_group, signal.SIGKILL)
        async with impostor_on(int(server.url.rpartition(":")[2]), embeds) as impostor:
            assert all(await asyncio.gather(*in_flight))
            assert all(
                [
                    await is_refused(embed(inputs, dimension=SAMPLE_WIDTH))
                    for embed in islice(cycle(embedders), 8)
                ]
            )

    assert impostor.num_requests > 0
    assert not impostor.was_told(server.key.get_secret_value())
    assert not impostor.was_told("1234,1234")
