"""What the store makes of a Milvus that is away, locked, closed to us or too small."""

import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from milvus_fixtures import make_batch, make_contract
from milvus_server import MilvusServer

from embed_index.pipeline.milvus.address import parse_address
from embed_index.pipeline.milvus.retry import OutagePolicy
from embed_index.pipeline.milvus.store import open_store
from embed_index.schemas.errors import ConfigurationError, EmbedIndexError, StoreError

SECRET = "hunter2-swordfish"

HOLD_OPEN = """
import sys
from pathlib import Path
from embed_index.pipeline.milvus.store import open_store
with open_store(sys.argv[1]):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """Run a server that wants a token, takes small messages and little at a time."""
    settings = {
        "common": {"security": {"authorizationEnabled": True}},
        "proxy": {"grpc": {"serverMaxRecvSize": 1 << 20}},
        "quotaAndLimits": {"dml": {"enabled": True, "upsertRate": {"max": 2}}},
    }
    with MilvusServer(tmp_path_factory.mktemp("strict"), settings=settings) as server:
        yield server


@pytest.mark.milvus_server
def test_a_killed_and_restarted_server_loses_nothing(
    milvus_server: MilvusServer, alias: str
) -> None:
    with open_store(milvus_server.uri, connect_seconds=60.0) as store:
        version = store.versions.create(alias, contract=make_contract())
        store.upsert(version, make_batch(["x", "y"], doc_id="before"))
        milvus_server.kill()
        milvus_server.spawn()
        for number in range(20):
            batch = make_batch(["x", "y"], doc_id=f"during {number}")
            assert store.upsert(version, batch) == 2
        assert store.reader.count(version) == 42
        hits = store.reader.search(version, batch.vectors[0], limit=3, consistency="Strong")
        assert len(hits) == 3


@pytest.mark.milvus_server
def test_a_frozen_server_is_waited_for(milvus_server: MilvusServer, alias: str) -> None:
    with open_store(milvus_server.uri, call_seconds=1.0, connect_seconds=60.0) as store:
        version = store.versions.create(alias, contract=make_contract())
        milvus_server.freeze()
        thaw = threading.Timer(4.0, milvus_server.thaw)
        thaw.start()
        try:
            assert store.upsert(version, make_batch(["x", "y"])) == 2
            assert not thaw.is_alive()
        finally:
            thaw.join()
        assert store.reader.count(version) == 2


@pytest.mark.milvus_server
def test_an_outage_beyond_patience_is_a_resumable_error(
    milvus_server: MilvusServer, alias: str
) -> None:
    impatient = OutagePolicy(retry_seconds=1.0)
    with open_store(
        milvus_server.uri, retry=impatient, call_seconds=0.5, connect_seconds=60.0
    ) as store:
        version = store.versions.create(alias, contract=make_contract())
        milvus_server.freeze()
        try:
            with pytest.raises(StoreError, match="does not answer") as caught:
                store.upsert(version, make_batch(["x"]))
        finally:
            milvus_server.thaw()
        assert "continues where this one ended" in caught.value.remedy


@pytest.mark.milvus_server
def test_closing_ends_a_waiting_retry(milvus_server: MilvusServer, alias: str) -> None:
    store = open_store(milvus_server.uri, call_seconds=0.2, connect_seconds=60.0)
    version = store.versions.create(alias, contract=make_contract())
    errors: list[EmbedIndexError] = []

    def upsert() -> None:
        try:
            store.upsert(version, make_batch(["x"]))
        except EmbedIndexError as error:
            errors.append(error)

    milvus_server.freeze()
    try:
        writer = threading.Thread(target=upsert)
        writer.start()
        writer.join(1.0)
        assert writer.is_alive()
        store.close()
        writer.join(30.0)
        assert not writer.is_alive()
    finally:
        milvus_server.thaw()
    assert isinstance(errors[0], StoreError)


@pytest.mark.milvus_server
def test_large_batches_are_split_and_limited_rates_waited_for(
    strict_server: MilvusServer, alias: str
) -> None:
    texts = [f"{number:06d}" + "x" * 60_000 for number in range(100)]
    with open_store(
        strict_server.uri, token="root:Milvus", connect_seconds=60.0, max_request_bytes=16 << 20
    ) as store:
        version = store.versions.create(alias, contract=make_contract())
        assert store.upsert(version, make_batch(texts)) == 100
        found = {
            row.chunk_index: row.text for row in store.reader.iter_chunks(version, with_text=True)
        }
    assert [found[index] for index in range(100)] == texts


@pytest.mark.milvus_server
@pytest.mark.parametrize("token", ["", f"root:{SECRET}"])
def test_a_refused_token_is_told_from_an_absent_server(
    strict_server: MilvusServer, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreError, match="does not accept the token") as caught:
        open_store(strict_server.uri, token=token)
    assert "MILVUS_TOKEN" in caught.value.remedy
    assert SECRET not in str(caught.value) + repr(caught.value) + caplog.text


@pytest.mark.milvus_server
def test_the_token_does_not_show(
    strict_server: MilvusServer, alias: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with open_store(strict_server.uri, token="root:Milvus", connect_seconds=60.0) as store:
        with pytest.raises(ConfigurationError) as caught:
            store.versions.contract(f"{alias}_v1")
        shown = [repr(store), repr(store._connection), repr(vars(store)), str(caught.value)]
    assert "root:Milvus" not in "".join(shown) + caplog.text


@pytest.mark.milvus_server
def test_https_to_a_server_without_tls_says_so(milvus_server: MilvusServer) -> None:
    with pytest.raises(StoreError, match="does not speak TLS"):
        open_store(milvus_server.uri.replace("http://", "https://"), connect_seconds=0.5)


@pytest.mark.milvus_server
def test_an_unknown_database_is_named_as_the_trouble(milvus_server: MilvusServer) -> None:
    with pytest.raises(ConfigurationError, match="no such database"):
        open_store(milvus_server.uri, database="nowhere", connect_seconds=60.0)


def test_an_absent_server_is_named() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(StoreError, match="cannot be reached: Connection refused"):
            open_store(uri, connect_seconds=0.5)


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(StoreError, match=r"'milvus.invalid' is unknown"):
        open_store("http://milvus.invalid:19530", connect_seconds=0.5)


@pytest.mark.parametrize(
    "uri",
    [
        f"http://root:{SECRET}@127.0.0.1:19530",
        f"https://{SECRET}@host",
        f"tcp://root:{SECRET}@host:1/x.db",
    ],
)
def test_credentials_in_the_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="must not hold a user name or password") as caught:
        parse_address(uri)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("uri", ["", "milvus", "ftp://host:1", "http://", "http://host:99999"])
def test_what_is_no_uri_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="the Milvus URI must be"):
        parse_address(uri)


def test_a_folder_that_another_process_has_open_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_OPEN, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match="is open in another process"):
            open_store(path)
        holder.communicate("")
    with open_store(path) as store:
        assert store.versions.list("docs") == []


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.db").write_bytes(b"SQLite format 3")
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        open_store(str(tmp_path / "old.db"))


def test_nobody_else_reaches_an_embedded_store(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store.db")) as store:
        lite = store._connection._lite
        assert lite is not None
        folder = Path(lite.uri.removeprefix("unix:")).parent
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
