"""How the server's own process gets its keys, and other ones while it runs."""

import os
import threading

import httpx
import numpy as np
import orjson
import pytest
from process_marks import wait_for
from pydantic import SecretStr
from sglang_fixtures import StartServer

from embed_index.pipeline.embedding.client import ClientLimits, EmbeddingClient
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.preflight import check_access
from embed_index.pipeline.secrecy.keyring import Keyring, hash_key
from embed_index.pipeline.secrecy.redaction import KeyRedactor
from embed_index.pipeline.server.admission import Admission
from embed_index.pipeline.server.intrusion import takes_key
from embed_index.pipeline.server.key_pipe import GuardsEnd, as_line, follow
from embed_index.pipeline.server.process import ManagedServer
from embed_index.schemas.errors import EmbedIndexError

LIMITS = ClientLimits(vocab_size=100, max_tokens=512)
OWNER = SecretStr("ei-owner")
LONG = SecretStr("ei-" + "k" * 8_000)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_the_gate_is_told_fingerprints_and_the_log_is_masked(size: int) -> None:
    keyring = Keyring(hashed=(hash_key(LONG, name="long", per_minute=3),), secrets=(LONG,))
    line = as_line(keyring, owner=OWNER, parent=4711)
    reading, writing = os.pipe()
    guard = GuardsEnd(writing, redactor=KeyRedactor(b"ei-inner"))

    for start in range(0, len(line), size):
        guard.feed(line[start : start + size])

    told = os.read(reading, 65_536)
    assert guard.parent == 4711
    assert [key["name"] for key in orjson.loads(told)] == ["long", ""]
    assert b"kkk" not in told
    assert b"ei-owner" not in told
    shown = guard.redactor.feed(b"ei-inner, ei-owner, " + LONG.get_secret_value().encode())
    assert shown + guard.redactor.flush() == b"***, ***, ***"


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_gate_takes_the_keys_of_the_last_whole_line(size: int) -> None:
    reading, writing = os.pipe()
    guard = GuardsEnd(writing, redactor=KeyRedactor())
    for key in ("ei-first", "ei-second"):
        guard.feed(as_line(of(key), owner=OWNER, parent=1))
    told = os.read(reading, 65_536)
    reading, writing = os.pipe()
    admission = Admission()

    def cut() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            for start in range(0, len(told), size):
                pipe.write(told[start : start + size])
            pipe.write(b"[")

    cutting = threading.Thread(target=cut)
    cutting.start()
    follow(reading, admission)
    cutting.join()

    taken = [admission.find(key) is not None for key in (b"ei-first", b"ei-second", b"ei-owner")]
    assert taken == [False, True, True]


def test_a_gate_that_is_gone_is_told_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    guard = GuardsEnd(writing, redactor=KeyRedactor())

    guard.feed(as_line(Keyring(), owner=OWNER, parent=1))

    assert guard.parent == 1


def of(*keys: str) -> Keyring:
    secrets = tuple(map(SecretStr, keys))
    hashed = tuple(hash_key(key, name=f"n{place}") for place, key in enumerate(secrets))
    return Keyring(hashed=hashed, secrets=secrets)


async def takes(server: ManagedServer, *keys: str) -> list[bool | None]:
    return [await takes_key(server.endpoint, key=SecretStr(key)) for key in keys]


async def test_a_running_server_takes_other_keys_without_a_restart(
    new_light_server: StartServer,
) -> None:
    keys = ("ei-first", "ei-second")
    async with new_light_server(keyring=of("ei-first")) as server:
        await server.wait_ready()
        before = (server.process_group, await takes(server, *keys))

        server.take_keys(of(*keys))
        async with server.endpoint.http_client() as http:
            bearer = {"Authorization": "Bearer ei-second"}
            while (await http.get("/v1/models", headers=bearer)).status_code != httpx.codes.OK:
                pass
        both = await takes(server, *keys)
        server.take_keys(of("ei-second"))
        while (await takes(server, "ei-first")) != [False]:
            pass

        assert before == (server.process_group, [True, False])
        assert both == [True, True]
        assert await takes(server, *keys) == [False, True]
        assert await takes_key(server.endpoint)


async def test_a_key_that_comes_later_is_masked_in_the_log_too(
    new_light_server: StartServer,
) -> None:
    async with new_light_server() as server:
        await server.wait_ready()
        server.take_keys(of("ei-told-by-mistake"))
        server.take_keys(of("ei-told-by-mistake"))
        bearer = {"Authorization": "Bearer ei-told-by-mistake"}
        body = {"input": [[1]], "say": "ei-told-by-mistake"}
        async with server.endpoint.http_client() as http:
            while (
                await http.post("/v1/embeddings", json=body, headers=bearer)
            ).status_code != httpx.codes.OK:
                pass
        wait_for(lambda: "said: ***" in server.log_path.read_text())

    assert "ei-told-by-mistake" not in server.log_path.read_text()


async def test_a_search_works_with_a_key_for_queries(new_light_server: StartServer) -> None:
    """What asks a server before a query is refused in part, and does without."""
    key = SecretStr("ei-for-queries-alone")
    alone = hash_key(key, name="website", query_only=True)
    async with new_light_server(keyring=Keyring(hashed=(alone,), secrets=(key,))) as server:
        await server.wait_ready()
        endpoint = EmbeddingEndpoint.from_settings(server.url, key=key, model="m")

        access = await check_access(endpoint, dimension=64)
        async with EmbeddingClient(endpoint, limits=LIMITS) as client:
            vectors = await client.embed([np.array([1, 2], dtype=np.int32)] * 16, dimension=64)
            with pytest.raises(EmbedIndexError, match="403"):
                await client.embed([np.array([1, 2], dtype=np.int32)] * 17, dimension=64)

    assert access.dialect.cuts
    assert vectors.shape == (16, 64)
