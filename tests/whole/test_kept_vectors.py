"""`[run] keep_vectors`: another dimension later, without embedding again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder, hashes_of
from milvus_fixtures import slow_on_server

from embed_index.pipeline.archive.kept_files import list_files
from embed_index.schemas.records import Vectors

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps. " * (4 * n + 1) for n in range(6)}


def kept(job: JobFolder) -> Path:
    return job.folder / "kept"


def run(job: JobFolder, *more: str, expect: int = 0) -> str:
    return job.run("--keep-vectors", str(kept(job)), *more, expect=expect).stderr


def vectors_of(job: JobFolder, version: str) -> dict[str, Vectors]:
    with job.open_store() as store:
        chunks = store.reader.iter_chunks(f"{job.collection}_{version}", with_vectors=True)
        return {chunk.chunk_id: chunk.vector for chunk in chunks if chunk.vector is not None}


def assert_same(one: dict[str, Vectors], other: dict[str, Vectors]) -> None:
    assert one.keys() == other.keys()
    assert min(float(one[key] @ other[key]) for key in one) >= 0.9999


def away(job: JobFolder) -> JobFolder:
    """The job, whose server is gone."""
    with HashEmbeddingServer() as gone:
        return replace(job, server=gone)


@slow_on_server
@pytest.mark.parametrize("dimension", [128, 32, 512])
def test_a_rebuild_at_another_dimension_needs_no_server(job: JobFolder, dimension: int) -> None:
    job.write(CORPUS)
    run(job, "--dimension", "48")
    first = job.history()[0]
    fresh = replace(job, collection=f"{job.collection}_f")
    fresh.run("--dimension", str(dimension))

    run(away(job), "--dimension", str(dimension), "--rebuild")
    rebuilt = job.history()[0]
    job.run("--dimension", str(dimension))

    assert (rebuilt["num_tokens"], rebuilt["num_tokens_saved"]) == (0, first["num_tokens"])
    assert rebuilt["num_tokens_saved"] > 0
    assert job.live() == f"{job.collection}_v2"
    assert_same(vectors_of(job, "v2"), vectors_of(fresh, "v1"))
    assert job.history()[0]["num_unchanged"] == len(CORPUS)


def test_what_later_nights_embedded_is_kept_too_and_only_the_rest_is_embedded(
    lite_job: JobFolder,
) -> None:
    lite_job.write(CORPUS)
    run(lite_job)
    changed = CORPUS | {"d1": "Changed once.", "new": "A new document."}
    lite_job.write(changed)
    run(lite_job)
    lite_job.write(changed | {"newest": "One that nobody has embedded."})

    run(lite_job, "--dimension", "128", "--rebuild")
    rebuilt = lite_job.history()[0]
    run(away(lite_job), "--dimension", "32", "--rebuild")

    assert rebuilt["num_chunks_embedded"] == 1
    assert lite_job.history()[0]["num_tokens"] == 0
    assert lite_job.doc_hashes("v3") == lite_job.doc_hashes("v2")


def test_a_collection_of_another_name_takes_them_as_well(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    run(lite_job)
    small = replace(lite_job, collection="small")

    run(away(small), "--dimension", "32")

    assert small.history()[0]["num_tokens"] == 0
    assert small.doc_hashes("v1") == hashes_of(CORPUS)


@pytest.mark.parametrize("loss", ["lost", "damaged", "of another server"])
def test_a_loss_costs_embedding_again_and_never_a_wrong_vector(
    lite_job: JobFolder, loss: str
) -> None:
    lite_job.write(CORPUS)
    run(lite_job)
    if loss == "of another server":
        (mine,) = list_files(kept(lite_job))
        mine.unlink()
        with HashEmbeddingServer(salt="other") as other:
            run(replace(lite_job, server=other, collection="other"))
    for path in list_files(kept(lite_job)):
        if loss == "lost":
            path.unlink()
        elif loss == "damaged":
            content = bytearray(path.read_bytes())
            content[len(content) // 3] ^= 1
            path.write_bytes(content)

    said = run(lite_job, "--dimension", "128", "--rebuild")
    rebuilt = lite_job.history()[0]

    assert (rebuilt["num_tokens"] > 0, rebuilt["num_tokens_saved"]) == (True, 0)
    assert ("what it held is embedded again" in said) is (loss == "damaged")
    fresh = replace(lite_job, collection="fresh")
    fresh.run("--dimension", "128")
    assert_same(vectors_of(lite_job, "v2"), vectors_of(fresh, "v1"))


def test_a_rebuild_that_changes_nothing_makes_vectors_again(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    run(lite_job)

    run(lite_job, "--rebuild")

    assert lite_job.history()[0]["num_tokens_saved"] == 0
    assert lite_job.history()[0]["num_tokens"] == lite_job.history()[1]["num_tokens"]


def test_a_night_without_changes_asks_nothing_and_writes_no_file(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    run(lite_job)
    before = list_files(kept(lite_job))

    run(away(lite_job))

    assert list_files(kept(lite_job)) == before


def test_canaries_are_wide_enough_for_any_dimension_later(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    run(lite_job, "--dimension", "32")
    run(away(lite_job), "--dimension", "128", "--rebuild")
    lite_job.write(CORPUS | {"new": "One more document."})

    run(lite_job, "--dimension", "128")

    with lite_job.open_store() as store:
        contract = store.versions.contract(f"{lite_job.collection}_v2")
    assert {canary.to_vector().shape for canary in contract.canaries} == {(64,)}
    assert np.isclose(np.linalg.norm(contract.canaries[0].to_vector()), 1, atol=1e-6)
    assert lite_job.history()[0]["num_chunks_embedded"] == 1
