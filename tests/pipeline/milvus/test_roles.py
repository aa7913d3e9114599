"""What each role may do on a real server with authorisation, and what neither may.

That the loader may do all that is needed is shown by the store's contract suite, which runs under
its role as well.
"""

import logging
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder
from library_fixtures import DOCUMENTS
from milvus_fixtures import DIMENSION, make_batch, make_contract
from pymilvus import MilvusClient
from secured_milvus import DATABASE, OTHERS, ROOT, SecuredMilvus, job_on

from embed_index.pipeline.milvus.arrangement import DEFAULT_GROUP, Arrangement, Placement
from embed_index.pipeline.milvus.retry import OutagePolicy
from embed_index.pipeline.milvus.sdk import milvus_pb2
from embed_index.pipeline.milvus.store import MilvusStore, open_store
from embed_index.pipeline.milvus.tls import TlsFiles
from embed_index.schemas.errors import ConfigurationError, StoreError

pytestmark = pytest.mark.milvus_server

IMPATIENT = OutagePolicy(retry_seconds=0.5, doubt_seconds=0.5)
DENIED = "Milvus' user may not do this"

Open = Callable[[str, str], MilvusStore]


@pytest.fixture(scope="module")
def opened(secured_milvus: SecuredMilvus) -> Iterator[Open]:
    """Open a database with a token, once for all tests."""
    stores: dict[tuple[str, str], MilvusStore] = {}

    def open_as(token: str, database: str) -> MilvusStore:
        if (token, database) not in stores:
            access = secured_milvus.access(token, database=database)
            stores[token, database] = open_store(**access, retry=IMPATIENT, connect_seconds=60)
        return stores[token, database]

    yield open_as
    for store in stores.values():
        store.close()


@pytest.fixture(scope="module")
def filled(secured_milvus: SecuredMilvus, opened: Open) -> str:
    """A live version of ours, and one of the same name in the others' database."""
    for token, database in ((secured_milvus.loader, DATABASE), (ROOT, OTHERS)):
        store = opened(token, database)
        version = store.versions.create("roles", contract=make_contract())
        store.upsert(version, make_batch(["one ", "two "]))
        store.versions.set_live("roles", version=version)
    return version


def test_a_reader_finds_reads_and_counts(
    secured_milvus: SecuredMilvus, opened: Open, filled: str
) -> None:
    store = opened(secured_milvus.reader, DATABASE)

    live = store.versions.find("roles")
    store.versions.load(live.name)
    hits = store.reader.search("roles", make_batch(["one ", "two "]).vectors[0], limit=1)

    assert live.name == filled
    assert store.versions.list("roles") == [filled]
    assert store.versions.live("roles") == filled
    assert [hit.text for hit in hits] == ["one "]
    assert store.reader.count(filled) == 2


def test_a_loader_may_ask_where_versions_are_loaded(
    secured_milvus: SecuredMilvus, opened: Open
) -> None:
    indexes = opened(secured_milvus.loader, DATABASE).versions.indexes
    alone = Arrangement(placement=Placement(resource_groups=(DEFAULT_GROUP,)))

    indexes.check(alone, carried=())
    with pytest.raises(ConfigurationError, match="1 query nodes in '__default_resource_group'"):
        indexes.check(Arrangement(placement=Placement(replicas=2)), carried=())


WRITES: dict[str, Callable[[MilvusStore, str], object]] = {
    "write": lambda store, version: store.upsert(version, make_batch(["three"], doc_id="new")),
    "delete": lambda store, version: store.delete_chunks(version, ["absent"]),
    "flush": lambda store, version: store.flush(version),
    "create": lambda store, version: store.versions.create("other", contract=make_contract()),
    "drop the alias": lambda store, version: store.versions.drop_alias("roles"),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_reader_cannot(
    secured_milvus: SecuredMilvus, opened: Open, filled: str, what: str
) -> None:
    store = opened(secured_milvus.reader, DATABASE)

    with pytest.raises(StoreError, match=DENIED) as raised:
        WRITES[what](store, filled)

    assert "MILVUS_TOKEN" in (raised.value.remedy or "")
    assert "5ec7e7" not in str(raised.value)
    assert opened(secured_milvus.loader, DATABASE).reader.count(filled) == 2


RAW: dict[str, Callable[[MilvusClient, str], object]] = {
    # pymilvus would look at the rows first.
    "insert": lambda client, version: client._get_connection()._stub.Insert(
        milvus_pb2.InsertRequest(collection_name=version, db_name=DATABASE)
    ),
    "drop": lambda client, version: client.drop_collection(version),
    "rename": lambda client, version: client.rename_collection(version, "renamed"),
    "release": lambda client, version: client.release_collection(version),
    "index": lambda client, version: client.drop_index(version, "embedding"),
    "make a user": lambda client, version: client.create_user("intruder", "secret-5ec7e7"),
    "grant": lambda client, version: client.grant_role("reader", "admin"),
    "make a database": lambda client, version: client.create_database("more"),
}


@pytest.mark.parametrize("what", RAW)
def test_a_reader_cannot_with_another_client_either(
    secured_milvus: SecuredMilvus, opened: Open, filled: str, what: str
) -> None:
    client = secured_milvus.client(secured_milvus.reader, database=DATABASE)

    with pytest.raises(Exception, match="permission deny"):
        RAW[what](client, filled)

    client.close()
    assert opened(secured_milvus.loader, DATABASE).reader.count(filled) == 2


OTHERS_RAW: dict[str, Callable[[MilvusClient, str], object]] = {
    "drop": lambda client, version: client.drop_collection(version),
    "drop the alias": lambda client, version: client.drop_alias("roles"),
    "delete": lambda client, version: client.delete(version, ids=["absent"]),
    "read": lambda client, version: client.query(version, filter='doc_id == "doc"'),
    "search": lambda client, version: client.search(version, [np.ones(DIMENSION).tolist()]),
    "make a collection": lambda client, version: client.create_collection("x", dimension=8),
    "make a user": lambda client, version: client.create_user("intruder", "secret-5ec7e7"),
    "make a role": lambda client, version: client.create_role("more"),
}


@pytest.mark.parametrize("what", OTHERS_RAW)
def test_a_loader_cannot_in_the_database_of_others(
    secured_milvus: SecuredMilvus, opened: Open, filled: str, what: str
) -> None:
    client = secured_milvus.client(secured_milvus.loader, database=OTHERS)

    with pytest.raises(Exception, match="permission deny"):
        OTHERS_RAW[what](client, filled)

    client.close()
    assert opened(ROOT, OTHERS).reader.count(filled) == 2


def test_a_client_without_a_certificate_is_told_that_it_needs_one(
    secured_milvus: SecuredMilvus,
) -> None:
    access = secured_milvus.access(ROOT) | {"tls": TlsFiles(ca_file=secured_milvus.tls.ca_file)}

    with pytest.raises(StoreError, match="the server wants a client's certificate, and got none"):
        open_store(**access, connect_seconds=0.5)


def test_a_wrong_token_is_not_taken_for_a_fault_of_tls(secured_milvus: SecuredMilvus) -> None:
    with pytest.raises(StoreError, match="Milvus does not accept the token") as raised:
        open_store(**secured_milvus.access("loader:wrong-5ec7e7"), connect_seconds=0.5)

    assert "5ec7e7" not in str(raised.value)


def granted(client: MilvusClient, role: str, *, database: str) -> set[tuple[Any, ...]]:
    return {
        (each["object_type"], each["object_name"], each["privilege"])
        for each in client.describe_role(role, db_name=database)["privileges"]
    }


def test_the_printed_program_grants_what_apply_grants(
    secured_milvus: SecuredMilvus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is printed is made of the job file alone.
    job_file = job_on("printed", tmp_path)
    tls = secured_milvus.tls
    job_file.write_text(
        f'{job_file.read_text()}uri = "{secured_milvus.uri}"\nca_file = "{tls.ca_file}"\n'
        f'client_cert = "{tls.client_cert}"\nclient_key = "{tls.client_key}"\n'
    )
    printed = secured_milvus.deploy_roles(job_file)
    assert printed.exit_code == 0, printed.output
    program = tmp_path / "roles.py"
    program.write_text(printed.stdout)
    monkeypatch.setenv("MILVUS_TOKEN", ROOT)

    for _ in range(2):
        runpy.run_path(str(program))["milvus"].close()
    applied = secured_milvus.deploy_roles(job_on("applied", tmp_path), "--apply")
    again = secured_milvus.deploy_roles(job_on("applied", tmp_path), "--apply")

    root = secured_milvus.client()
    try:
        for kind in ("loader", "reader"):
            by_program = granted(root, f"embed_index_{kind}_printed", database="printed")
            assert by_program
            assert by_program == granted(root, f"embed_index_{kind}_applied", database="applied")
            assert not granted(root, f"embed_index_{kind}_printed", database="applied")
    finally:
        root.close()
    assert applied.stdout == again.stdout
    assert applied.stdout.splitlines() == [
        f"embed_index_{kind}_applied: granted in database applied" for kind in ("loader", "reader")
    ]


def test_what_somebody_else_granted_to_a_role_is_said(
    secured_milvus: SecuredMilvus, tmp_path: Path
) -> None:
    job_file = job_on("surplus", tmp_path)
    secured_milvus.deploy_roles(job_file, "--apply")
    root = secured_milvus.client()
    root.grant_privilege(
        "embed_index_reader_surplus", "Collection", "Insert", "*", db_name="surplus"
    )
    root.close()

    said = secured_milvus.deploy_roles(job_file, "--apply").stdout

    assert "it may more than this program needs: Insert in surplus" in said


def test_no_one_but_an_administrator_applies_them(
    secured_milvus: SecuredMilvus, tmp_path: Path
) -> None:
    done = secured_milvus.deploy_roles(
        job_on("refused", tmp_path), "--apply", token=secured_milvus.loader
    )

    assert done.exit_code == 4
    assert DENIED in done.output
    assert "5ec7e7" not in done.output


def test_a_job_runs_as_the_loader_and_is_searched_as_the_reader_and_nothing_tells_their_secrets(
    secured_milvus: SecuredMilvus,
    sample_model: Path,
    hash_server: HashEmbeddingServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    milvus = secured_milvus
    job = JobFolder(folder=tmp_path, uri=milvus.uri, model=sample_model, server=hash_server)
    job.write(DOCUMENTS)
    loader, reader = (
        job.environment | milvus.environment(token) for token in (milvus.loader, milvus.reader)
    )
    query = ("search", DOCUMENTS["pump"], "--model", str(sample_model))

    said = [
        job.run("--query-instruction", "", environment=loader),
        job.run("--rebuild", "--dimension", "32", environment=loader),
        job.on_collection(*query, environment=reader),
        job.call("describe", job.collection, environment=reader),
        job.on_collection("gc", "--keep", "0", environment=loader),
        job.on_collection("gc", "--keep", "0", environment=reader, expect=0),
        job.run("--dimension", "32", "--rebuild", environment=reader, expect=4),
    ]

    assert "pump" in said[2].stdout
    told = [result.output for result in said]
    told += [caplog.text, *capfd.readouterr()]
    told += [path.read_bytes().decode("latin-1") for path in job.state.rglob("*") if path.is_file()]
    assert milvus.tls.client_key is not None
    key_line = milvus.tls.client_key.read_text().splitlines()[1]
    for secret in ("loads-5ec7e7", "reads-5ec7e7", key_line):
        assert [text for text in told if secret in text] == []
