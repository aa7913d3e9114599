"""The audit finds every planted kind of drift, and a repair embeds no more than was planted."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from drift_planting import (
    D3_CHUNKS,
    PLANTED,
    Plant,
    change_row,
    leave_orphan,
    leave_stray_document,
    lose_chunk,
    lose_document,
    lose_entry,
    opened,
    write_foreign_keys,
)
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder
from milvus_fixtures import slow_on_server, unit_vectors
from milvus_server import MilvusServer

from embed_index.jobs.runs.indexing_pass import IndexingPass
from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.schemas.audit_findings import DRIFT_KINDS
from embed_index.schemas.ids import chunk_id

CORPUS = {
    f"d{n}": " ".join(f"Sentence {k} of text {n} speaks of pumps." for k in range(10 * n + 1))
    for n in range(6)
}
FEW = {doc_id: text for doc_id, text in CORPUS.items() if doc_id != "d5"}
HALF = ("--max-delete-share", "0.5")


def call_verify(job: JobFolder, *more: str, expect: int) -> Result:
    _, *flags = job.arguments()
    at = flags.index("--collection")
    del flags[at : at + 2]
    return job.call("verify", job.collection, *HALF, *flags, *more, expect=expect)


def verify(job: JobFolder, *more: str, expect: int = 0) -> dict[str, Any]:
    done = call_verify(job, "--carry", "topic", "--json", *more, expect=expect)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def counts(report: dict[str, Any]) -> dict[str, int]:
    return {kind: drift["count"] for kind, drift in report["drift"].items()}


def index(job: JobFolder) -> JobFolder:
    job.write(CORPUS)
    job.run("--carry", "topic")
    return job


@pytest.fixture
def indexed(job: JobFolder) -> JobFolder:
    """A collection in step with its corpus, on each Milvus target."""
    return index(job)


@pytest.fixture
def lite_indexed(lite_job: JobFolder) -> JobFolder:
    return index(lite_job)


@pytest.fixture
def server_indexed(lite_job: JobFolder, milvus_server: MilvusServer) -> JobFolder:
    return index(replace(lite_job, uri=milvus_server.uri))


@slow_on_server
def test_a_collection_in_step_has_no_drift(indexed: JobFolder) -> None:
    report = verify(indexed, "--sample", "1000")

    assert report["drift"] == {}
    assert report["num_sampled"] == report["num_chunks"] == report["num_rows"]
    assert report["num_documents"] == len(CORPUS)


def test_every_kind_of_drift_is_planted() -> None:
    found = {kind for _, drift, _ in PLANTED.values() for kind in drift}

    # Milvus Lite holds no two rows under one key; a test of its own plants them on a server.
    assert found | {"duplicate"} == set(DRIFT_KINDS)


every_kind = pytest.mark.parametrize(
    ("plant", "drift", "num_embedded"), PLANTED.values(), ids=list(PLANTED)
)


@every_kind
def test_planted_drift_is_found_and_mended(
    lite_indexed: JobFolder, plant: Plant, drift: dict[str, int], num_embedded: int
) -> None:
    check_found_and_mended(lite_indexed, plant, drift, num_embedded)


@pytest.mark.slow
@pytest.mark.milvus_server
@every_kind
def test_planted_drift_is_found_and_mended_on_a_server(
    server_indexed: JobFolder, plant: Plant, drift: dict[str, int], num_embedded: int
) -> None:
    check_found_and_mended(server_indexed, plant, drift, num_embedded)


def check_found_and_mended(
    indexed: JobFolder, plant: Plant, drift: dict[str, int], num_embedded: int
) -> None:
    with opened(indexed) as parts:
        before = parts.state()
        plant(parts)
    sample = ("--sample", "1000" if "vector" in drift else "0")

    found = verify(indexed, *sample, expect=6)
    mended = verify(indexed, *sample, "--repair")

    assert counts(found) == counts(mended) == drift
    assert mended["num_chunks_embedded"] == num_embedded
    assert mended["after_repair"]["drift"] == {}
    assert verify(indexed, "--sample", "1000")["drift"] == {}
    with opened(indexed) as parts:
        assert parts.state() == before
    # The history tells of the repair, and the next run finds nothing to do.
    assert indexed.history()[0]["outcome"] == "mended"
    indexed.run("--carry", "topic")
    assert indexed.history()[0]["num_unchanged"] == len(CORPUS)


def test_all_of_it_at_once_embeds_no_more_than_was_planted(indexed: JobFolder) -> None:
    with opened(indexed) as parts:
        before = parts.state()
        for plant in (leave_orphan, leave_stray_document, write_foreign_keys, lose_chunk):
            plant(parts)
        other = parts.rows("d4")
        parts.write(
            replace(other[0], text="Something else."),
            replace(other[1], vector=-np.asarray(other[1].vector)),
            replace(other[2], carried={"topic": "x"}, source="y#0:0"),
            replace(other[3], doc_hash="older"),
        )
        parts.documents.begin([("d1", 9)])
        parts.documents.forget(["d2"])

    mended = verify(indexed, "--sample", "1000", "--repair")

    assert counts(mended) == {
        "missing": 1, "stale": 1, "altered": 1, "metadata": 1, "vector": 1,
        "orphaned": 2, "foreign": 3, "unrecorded": 1, "pending": 1,
    }  # fmt: skip
    # The text of a row with another document's hash alone is the chunk's, and its vector is kept.
    assert mended["num_chunks_embedded"] == 3
    with opened(indexed) as parts:
        assert parts.state() == before


@pytest.mark.milvus_server
def test_two_rows_under_one_key_are_found_and_made_one(server_indexed: JobFolder) -> None:
    indexed = server_indexed
    with opened(indexed) as parts:
        before = parts.state()
        row = parts.rows("d3")[1]
        parts.insert(replace(row, vector=unit_vectors(1, dimension=64, seed=5)[0]))
        parts.insert(replace(parts.rows("d4")[0]))
    planted = [chunk_id("d3", 1), chunk_id("d4", 0)]

    found = verify(indexed, "--sample", "0", expect=6)
    mended = verify(indexed, "--sample", "0", "--repair")

    assert counts(found) == counts(mended) == {"duplicate": 2}
    examples = found["drift"]["duplicate"]["examples"]
    assert sorted(x["chunk_id"] for x in examples) == sorted(planted)
    assert mended["num_chunks_embedded"] == 2
    with opened(indexed) as parts:
        assert parts.state() == before


@slow_on_server
def test_documents_that_came_changed_and_went_are_drift(indexed: JobFolder) -> None:
    with opened(indexed) as parts:
        num_gone = len(parts.rows("d5"))
        num_stale = len(parts.rows("d4"))
    indexed.write({**FEW, "d4": CORPUS["d4"] + " And one more.", "new": "A new document."})

    found = verify(indexed, "--sample", "0", "--delete-missing", expect=6)
    kept = verify(indexed, "--sample", "0", "--repair")
    mended = verify(indexed, "--sample", "0", "--repair", "--delete-missing")

    assert counts(found) == {
        "missing": 1, "stale": num_stale, "orphaned": num_gone, "unrecorded": 1, "misrecorded": 1,
    }  # fmt: skip
    # One chunk is new, and of the changed document only the last one.
    assert kept["num_chunks_embedded"] == 2
    assert counts(kept) == {kind: n for kind, n in counts(found).items() if kind != "orphaned"}
    assert (kept["after_repair"]["drift"], kept["after_repair"]["num_retained"]) == ({}, 1)
    assert counts(mended) == {"orphaned": num_gone}
    assert mended["after_repair"]["drift"] == {}
    with opened(indexed) as parts:
        assert {row.doc_id for row in parts.rows()} == {*FEW, "new"}


def test_documents_that_a_job_keeps_are_retained_and_no_drift(lite_job: JobFolder) -> None:
    index(lite_job)
    with opened(lite_job) as parts:
        leave_stray_document(parts)
    lite_job.write(FEW)
    lite_job.run("--carry", "topic")

    found = verify(lite_job, "--sample", "0", expect=6)
    mended = verify(lite_job, "--sample", "0", "--repair")
    told = call_verify(lite_job, "--carry", "topic", "--sample", "0", expect=0)

    # Nobody asked to keep what no run wrote.
    assert counts(found) == counts(mended) == {"orphaned": 1}
    assert found["num_retained"] == mended["after_repair"]["num_retained"] == 1
    assert "1 document that the corpus no longer has (delete_missing is off)" in told.stdout
    with opened(lite_job) as parts:
        assert {row.doc_id for row in parts.rows()} == set(CORPUS)


def test_more_departed_documents_than_allowed_are_left_and_the_rest_is_mended(
    lite_job: JobFolder,
) -> None:
    index(lite_job)
    with opened(lite_job) as parts:
        lose_chunk(parts)
    lite_job.write({doc_id: CORPUS[doc_id] for doc_id in ("d2", "d3")})
    how = ("--sample", "0", "--repair", "--delete-missing")

    refused = call_verify(lite_job, "--carry", "topic", *how, expect=2)

    assert "repair: 4 of 6 documents are not in the corpus" in refused.stderr
    with opened(lite_job) as parts:
        assert {row.doc_id for row in parts.rows()} == set(CORPUS)
        assert len(parts.rows("d3")) == D3_CHUNKS
    forced = verify(lite_job, *how, "--force")
    assert counts(forced) == {"orphaned": forced["drift"]["orphaned"]["count"]}
    assert forced["num_chunks_embedded"] == 0


@slow_on_server
def test_a_lost_ledger_is_rebuilt_without_embedding(indexed: JobFolder) -> None:
    with opened(indexed) as parts:
        before = parts.state()
    for file in indexed.state.glob("*.ledger*"):
        file.unlink()

    found = verify(indexed, "--sample", "0", expect=6)
    assert not list(indexed.state.glob("*.ledger"))
    mended = verify(indexed, "--sample", "0", "--repair")

    assert counts(found) == {"unrecorded": len(CORPUS)}
    assert mended["ledger_rebuilt"]
    assert (mended["drift"], mended["num_chunks_embedded"]) == ({}, 0)
    with opened(indexed) as parts:
        assert parts.state() == before


@slow_on_server
def test_an_audit_changes_nothing_and_leaves_nothing_behind(indexed: JobFolder) -> None:
    with opened(indexed) as parts:
        lose_chunk(parts)
        parts.documents.begin([("d1", 9)])
        before = parts.state()
    files = set(indexed.state.rglob("*"))
    runs = indexed.history()

    verify(indexed, expect=6)

    with opened(indexed) as parts:
        assert parts.state() == before
    assert set(indexed.state.rglob("*")) == files
    assert indexed.history() == runs


def test_an_audit_without_a_sample_needs_no_server(lite_job: JobFolder) -> None:
    index(lite_job)
    with HashEmbeddingServer() as gone:
        away = replace(lite_job, server=gone)

    report = verify(away, "--sample", "0")

    assert report["num_sampled"] == 0


def test_a_repair_that_embeds_nothing_needs_no_server(lite_job: JobFolder) -> None:
    index(lite_job)
    with opened(lite_job) as parts:
        leave_orphan(parts)
        lose_entry(parts)
        change_row(carried={"topic": "other"})(parts)
    with HashEmbeddingServer() as gone:
        away = replace(lite_job, server=gone)

    assert verify(away, "--sample", "0", "--repair")["after_repair"]["drift"] == {}


def test_drift_is_told_in_words_with_examples_and_a_remedy(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    with opened(lite_job) as parts:
        lose_document(parts)

    done = call_verify(lite_job, "--sample", "0", expect=6)

    assert f"missing: {D3_CHUNKS} (a chunk of the corpus has no row in Milvus)" in done.stdout
    assert f"{chunk_id('d3', 0)}  document d3" in done.stdout
    assert f"and {D3_CHUNKS - 5} more" in done.stdout
    error, remedy = done.stderr.splitlines()
    assert error == f"error: {lite_job.collection}_v1: {D3_CHUNKS} missing"
    assert "--repair" in remedy


def test_a_refused_document_is_a_dead_letter_and_no_drift(
    lite_job: JobFolder, tokenizer: ModelTokenizer
) -> None:
    poison = tokenizer.encode_for_model("zyzzyva").tolist()
    lite_job.write({**CORPUS, "bad": "zyzzyva"})
    with HashEmbeddingServer() as server:
        server.refuse(lambda ids: ids == poison)
        picky = replace(lite_job, server=server)
        picky.run("--carry", "topic", "--max-dead-letters", "1")

        report = verify(picky, "--sample", "1000")

    assert report["drift"] == {}
    assert report["num_dead_letters"] == 1


def test_an_unusable_row_keeps_the_rows_of_its_document(lite_job: JobFolder) -> None:
    index(lite_job)
    lite_job.write({**CORPUS, "d3": None})

    assert verify(lite_job, "--sample", "0")["drift"] == {}


def test_a_collection_made_another_way_is_not_compared(lite_job: JobFolder) -> None:
    index(lite_job)

    done = call_verify(lite_job, "--sample", "0", expect=2)
    unknown = call_verify(replace(lite_job, collection="nobody"), "--sample", "0", expect=2)

    assert "the carried columns are" in done.stderr
    assert "there is no collection 'nobody'" in unknown.stderr


def test_a_repair_that_was_cut_short_is_finished_by_the_next(
    lite_indexed: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(lite_indexed) as parts:
        before = parts.state()
        lose_chunk(parts)
    how = ("--carry", "topic", "--sample", "0", "--repair")
    with monkeypatch.context() as killed:
        killed.setattr(IndexingPass, "run", raise_interrupt)
        call_verify(lite_indexed, *how, expect=130)

    mended = verify(lite_indexed, "--sample", "0", "--repair")

    assert counts(mended) == {"missing": 1, "pending": 1}
    assert mended["num_chunks_embedded"] == 1
    with opened(lite_indexed) as parts:
        assert parts.state() == before


def raise_interrupt(_: IndexingPass, **_settle: object) -> None:
    raise KeyboardInterrupt


def test_an_audit_does_not_work_beside_a_run(lite_indexed: JobFolder) -> None:
    with RunLock(lite_indexed.lock):
        done = call_verify(lite_indexed, "--sample", "0", expect=5)

    assert "Another run works on this collection" in done.stderr
