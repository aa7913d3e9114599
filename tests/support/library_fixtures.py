"""A small collection to search, on Milvus Lite, with hashed vectors of an exact kind.

Documents and queries carry no prompt, so that a text finds itself with a score of 1.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder

from embed_index import Collection, open_collection

DOCUMENTS = {
    "coffee": "Descale the coffee machine once a month.",
    "printer": "打印机卡纸时，请先关闭电源。",
    "pump": "Close both valves before the pump is opened.",
    'odd "id" \\ ü': "A document whose id has quotes.",
    "long": " ".join(f"Sentence number {n} of a long document." for n in range(60)),
}


@pytest.fixture(scope="session")
def indexed_documents(
    tmp_path_factory: pytest.TempPathFactory, sample_model: Path, hash_server: HashEmbeddingServer
) -> JobFolder:
    """A collection of the documents above, for copies."""
    place = tmp_path_factory.mktemp("library")
    job = JobFolder(
        folder=place, uri=str(place / "store.db"), model=sample_model, server=hash_server
    )
    job.write(DOCUMENTS)
    job.run("--carry", "topic", "--query-instruction", "")
    return job


@pytest.fixture
def library_job(indexed_documents: JobFolder, tmp_path: Path) -> JobFolder:
    """A copy of that collection, which nobody else has open."""
    copy = replace(indexed_documents, folder=tmp_path, uri=str(tmp_path / "store.db"))
    shutil.copytree(indexed_documents.uri, copy.uri)
    shutil.copytree(indexed_documents.folder / "corpus", tmp_path / "corpus")
    return copy


@pytest.fixture(scope="session")
def collection(indexed_documents: JobFolder) -> Iterator[Collection]:
    """That collection, open for all tests that only read."""
    copy = Path(indexed_documents.uri).with_name("open.db")
    shutil.copytree(indexed_documents.uri, copy)
    with opened(replace(indexed_documents, uri=str(copy))) as collection:
        yield collection


def opened(job: JobFolder, **more: object) -> Collection:
    given: dict[str, object] = {
        "milvus_uri": job.uri,
        "server_url": job.server.url,
        "key": job.server.key,
        "model": job.model,
        "state_dir": job.state,
    }
    return open_collection(job.collection, **(given | more))  # type: ignore[arg-type]
