"""What is imported at a smaller dimension against what a real server gives at it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder
from sglang_fixtures import RunningServer

from embed_index.schemas.records import Vectors


def vectors_of(job: JobFolder) -> dict[str, Vectors]:
    with job.open_store() as store:
        chunks = store.reader.iter_chunks(f"{job.collection}_v1", with_vectors=True)
        return {chunk.chunk_id: chunk.vector for chunk in chunks if chunk.vector is not None}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("dimension", [256, pytest.param(32, marks=pytest.mark.slow)])
def test_imported_vectors_equal_those_of_a_fresh_run_at_that_dimension(
    lite_job: JobFolder, sample_corpus: Path, sglang_server: RunningServer, dimension: int
) -> None:
    job = replace(lite_job, collection="wide")
    server = sglang_server.server
    environment = {
        "EMBEDDING_API_BASE": server.url,
        "EMBEDDING_API_KEY": server.key.get_secret_value(),
    }
    (job.folder / "corpus").symlink_to(sample_corpus)
    corpus = ["--carry", "product,severity", "--max-tokens", "512"]
    corpus += ["--max-dead-letters", "100%"]

    def run(collection: str, *more: str) -> None:
        arguments = replace(job, collection=collection).arguments()
        job.call(*arguments, *corpus, *more, environment=environment)

    run("wide", "--dimension", "512")
    run("fresh", "--dimension", str(dimension))
    archive = job.folder / "archive"
    job.on_collection("export", "--to", str(archive))
    copy = replace(job, collection="copy")
    with HashEmbeddingServer(salt="other") as nobody:
        copy.call(
            "import", str(archive), "--collection", "copy", "--dimension", str(dimension),
            "--milvus-uri", job.uri, "--state-dir", str(job.state),
            environment={"EMBEDDING_API_BASE": nobody.url, "EMBEDDING_API_KEY": nobody.key},
        )  # fmt: skip
        num_requests = nobody.num_requests
    run("copy", "--dimension", str(dimension))
    night = json.loads(copy.on_ledger("history", "--json").stdout)[0]

    fresh, imported = vectors_of(replace(job, collection="fresh")), vectors_of(copy)
    assert fresh.keys() == imported.keys()
    cosines = [float(fresh[key] @ imported[key]) for key in fresh]
    assert len(cosines) > 500
    assert {vector.shape for vector in imported.values()} == {(dimension,)}
    assert min(cosines) >= 0.9999
    assert np.allclose([np.linalg.norm(vector) for vector in imported.values()], 1, atol=1e-6)
    assert num_requests == 0
    assert (night["num_chunks_embedded"], night["num_changed"], night["num_new"]) == (0, 0, 0)
