"""A Milvus whose certificate an authority of one's own has signed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import trustme
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder
from stalling_milvus import StallingMilvus

import embed_index


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_job(
    tmp_path_factory: pytest.TempPathFactory,
    sample_model: Path,
    hash_server: HashEmbeddingServer,
    authority: trustme.CA,
) -> Iterator[JobFolder]:
    folder = tmp_path_factory.mktemp("tls")
    database = folder / "store.db"
    job = JobFolder(folder=folder, uri=str(database), model=sample_model, server=hash_server)
    job.write({"a": "A text."})
    job.run()
    certificate = authority.issue_cert("localhost")
    pair = certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
    with StallingMilvus(database, credentials=grpc.ssl_server_credentials([pair])) as milvus:
        yield replace(job, uri=milvus.uri)


@pytest.fixture
def ca_file(tmp_path: Path, authority: trustme.CA) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def call(job: JobFolder, *more: str, expect: int = 0) -> str:
    where = ("--milvus-uri", job.uri, *more)
    done = job.call("describe", job.collection, *where, expect=expect)
    return done.stdout + done.stderr


def test_it_is_reached_with_the_authoritys_file(tls_job: JobFolder, ca_file: Path) -> None:
    assert f"{tls_job.collection}_v1" in call(tls_job, "--milvus-ca-file", str(ca_file))


def test_the_library_reaches_it_with_the_same_file(
    tls_job: JobFolder, ca_file: Path, hash_server: HashEmbeddingServer
) -> None:
    with embed_index.open_collection(
        tls_job.collection,
        milvus_uri=tls_job.uri,
        milvus_ca_file=ca_file,
        server_url=hash_server.url,
        key=hash_server.key,
        model=tls_job.model,
    ) as collection:
        (found,) = collection.search("A text.", limit=1)

    assert found.doc_id == "a"


def test_the_doctor_looks_at_it_with_the_same_file(tls_job: JobFolder, ca_file: Path) -> None:
    flags = (*tls_job.arguments()[1:], "--milvus-ca-file", str(ca_file))

    assert f"{tls_job.uri}, version" in tls_job.call("doctor", *flags).stdout


def test_without_the_file_it_is_said_how_to_name_one(tls_job: JobFolder) -> None:
    # Of all commands it waits the shortest time for a Milvus that is away.
    said = tls_job.call("doctor", *tls_job.arguments()[1:], expect=4).stdout

    assert "TLS failed: unable to get local issuer certificate" in said
    assert "MILVUS_CA_FILE" in said


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_that_holds_no_certificate_is_refused_by_name(
    tls_job: JobFolder, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    said = call(tls_job, "--milvus-ca-file", str(path), expect=2)

    assert f"milvus_ca_file: {path} is no PEM file of certificates" in said
