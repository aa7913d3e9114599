"""A changed contract, and rebuilding beside the live version, on both Milvus targets."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder, hashes_of, stop_after_first_batch
from milvus_fixtures import make_batch, make_contract, slow_on_server, unit_vectors

from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.settling import settle
from embed_index.pipeline.versions.check import find_fault
from embed_index.pipeline.versions.target import choose_target, create_target
from embed_index.schemas.errors import LockHeldError
from embed_index.schemas.ids import chunk_id
from embed_index.schemas.records import EmbeddedBatch

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps. " * (4 * n + 1) for n in range(6)}


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (("--model", "other"), "model is"),
        (("--dimension", "32"), "dimension is 64 there and 32"),
        (("--document-instruction", "Represent"), "document_prompt is '' there"),
        (("--max-tokens", "48"), "max_tokens is 64 there and 48"),
        (("--overlap-tokens", "8"), "overlap_tokens is 0 there and 8"),
        (("--carry", "topic"), "carried columns are none there and topic (text)"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_another_way_to_make_vectors_is_refused_by_name(
    lite_job: JobFolder, sample_model: Path, flags: tuple[str, str], field: str
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    shutil.copytree(sample_model, lite_job.folder / "other")
    (lite_job.folder / "other" / "more.safetensors").write_bytes(b"other weights")
    flags = tuple(flag.replace("other", str(lite_job.folder / "other")) for flag in flags)  # type: ignore[assignment]

    done = lite_job.run(*flags, expect=2)

    error, remedy = done.stderr.splitlines()
    assert field in error
    assert "--rebuild" in remedy
    assert lite_job.versions() == ["v1"]


def test_the_same_model_in_a_folder_of_another_name_goes_on(
    lite_job: JobFolder, sample_model: Path
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    snapshot = lite_job.folder / "models--someone--lexical" / "snapshots" / "0a1b2c"
    shutil.copytree(sample_model, snapshot)

    lite_job.run("--model", str(snapshot))

    assert lite_job.history()[0]["num_unchanged"] == len(CORPUS)
    assert lite_job.versions() == ["v1"]


def test_a_model_that_gives_other_vectors_is_refused(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    lite_job.write({"new": "One more document."}, file="b.parquet")

    with HashEmbeddingServer(salt="other") as other:
        done = replace(lite_job, server=other).run(expect=2)

    assert "gives the canary texts other vectors" in done.stderr


def test_a_rebuild_fills_the_next_version_and_the_next_run_goes_on_there(job: JobFolder) -> None:
    job.write(CORPUS)
    job.run()

    job.run("--rebuild", "--dimension", "32")
    rebuilt, live = job.versions(), job.live()
    job.write(CORPUS | {"new": "One more document."})
    job.run("--dimension", "32")
    last, *_ = job.history()

    assert (rebuilt, live) == (["v1", "v2"], f"{job.collection}_v2")
    assert job.versions() == ["v1", "v2"]
    assert (last["version"], last["num_new"], last["num_unchanged"]) == (live, 1, 6)
    assert job.doc_hashes("v1") == hashes_of(CORPUS)
    assert job.doc_hashes("v2") == hashes_of(CORPUS | {"new": "One more document."})


@slow_on_server
def test_an_interrupted_rebuild_goes_on_and_a_plain_run_in_between_updates_what_is_live(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = CORPUS | {f"e{n}": f"Number {n}. " * 600 for n in range(12)}
    job.write(more)
    job.run()
    with monkeypatch.context() as interrupted:
        stop_after_first_batch(interrupted)
        # Requests this small leave most of the corpus unread when the first one is committed.
        job.run("--rebuild", "--max-in-flight", "1", "--batch-tokens", "64", expect=130)
    begun = job.doc_hashes("v2")
    changed = {name: text for name, text in more.items() if name != "d0"} | {"d1": "Changed."}
    job.write(changed)

    job.run("--delete-missing")
    between, live_between = job.doc_hashes("v1"), job.live()
    job.run("--rebuild")
    last, *_ = job.history()

    assert 0 < len(begun) < len(more)
    assert (between, live_between) == (hashes_of(changed), f"{job.collection}_v1")
    assert (job.versions(), job.live()) == (["v1", "v2"], f"{job.collection}_v2")
    assert job.doc_hashes("v2") == hashes_of(changed)
    # What was committed before the interruption moved up by a row, and is not written again.
    assert last["num_unchanged"] > 0
    assert last["num_new"] + last["num_changed"] < len(changed)


def test_other_carried_columns_embed_nothing_again(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    with HashEmbeddingServer() as gone:
        without_server = replace(lite_job, server=gone)

    without_server.run("--carry", "topic", "--rebuild")
    rebuilt = lite_job.history()[0]
    lite_job.write(CORPUS | {"d0": "Changed.", "new": "One more document."})
    lite_job.run("--rebuild")
    last = lite_job.history()[0]

    assert (rebuilt["num_new"], rebuilt["num_tokens"]) == (len(CORPUS), 0)
    assert rebuilt["num_chunks_reused"] > len(CORPUS)
    assert (last["num_new"], last["num_chunks_embedded"]) == (len(CORPUS) + 1, 2)
    assert lite_job.live() == f"{lite_job.collection}_v3"
    ids = [chunk_id(doc_id, 0) for doc_id in CORPUS]
    with lite_job.open_store() as store:
        first, second = (
            store.reader.fetch_chunks(f"{lite_job.collection}_{version}", ids, with_vectors=True)
            for version in ("v1", "v2")
        )
    assert {key: row.carried for key, row in second.items()} == {
        chunk_id(doc_id, 0): {"topic": f"topic of {doc_id}"} for doc_id in CORPUS
    }
    np.testing.assert_array_equal(
        [first[key].vector for key in ids], [second[key].vector for key in ids]
    )


def test_an_interrupted_change_of_carried_columns_goes_on_without_embedding(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = {f"d{n}": f"Text number {n}." for n in range(1500)}
    lite_job.write(corpus)
    lite_job.run()
    with monkeypatch.context() as interrupted:
        stop_after_first_batch(interrupted)
        lite_job.run("--carry", "topic", "--rebuild", expect=130)

    lite_job.run("--carry", "topic", "--rebuild")
    last, first, _ = lite_job.history()

    assert 0 < first["num_new"] < len(corpus)
    assert last["num_unchanged"] == first["num_new"]
    assert (last["num_tokens"], first["num_tokens"]) == (0, 0)
    assert lite_job.live() == f"{lite_job.collection}_v2"
    assert lite_job.doc_hashes("v2") == hashes_of(corpus)


def test_a_version_that_was_rolled_back_is_not_continued(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    lite_job.run("--rebuild")
    lite_job.on_collection("rollback")

    lite_job.run("--rebuild")

    assert lite_job.versions() == ["v1", "v2", "v3"]
    assert lite_job.history()[0]["num_new"] == len(CORPUS)


def spoil_before_settling(
    monkeypatch: pytest.MonkeyPatch, job: JobFolder, *, drop: list[str], add: EmbeddedBatch | None
) -> None:
    """Change rows of the new version behind the run's back, once its pass is over."""

    def spoil_and_settle(*args: object, **kwargs: object) -> None:
        store, target = kwargs["store"], kwargs["target"]
        if drop:
            store.delete_chunks(target.name, drop)  # type: ignore[attr-defined]
        if add is not None:
            store.upsert(target.name, add)  # type: ignore[attr-defined]
        settle(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("embed_index.jobs.runs.index.settle", spoil_and_settle)


@slow_on_server
def test_a_rebuild_that_lacks_a_row_does_not_go_live_and_the_next_one_mends_it(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.write(CORPUS)
    job.run()
    with monkeypatch.context() as spoiled:
        spoil_before_settling(spoiled, job, drop=[chunk_id("d3", 0)], add=None)
        done = job.run("--rebuild", expect=4)
    live = job.live()

    job.run("--rebuild")
    last, *_ = job.history()

    assert f"{job.collection}_v2 is not whole: it has" in done.stderr
    assert live == f"{job.collection}_v1"
    assert job.live() == f"{job.collection}_v2"
    assert (last["num_unchanged"], last["num_changed"]) == (5, 1)
    assert job.doc_hashes("v2") == hashes_of(CORPUS)


def test_a_rebuild_with_a_foreign_row_does_not_go_live(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    foreign = make_batch(["Not of the corpus."], doc_id="foreign", dimension=64)
    spoil_before_settling(monkeypatch, lite_job, drop=[], add=foreign)

    done = lite_job.run("--rebuild", expect=4)

    assert "rows, and the ledger's documents have" in done.stderr
    assert lite_job.live() == f"{lite_job.collection}_v1"


@slow_on_server
def test_a_version_whose_chunks_do_not_find_themselves_is_found_out(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.write(CORPUS)
    job.run()
    with job.open_store() as store, Ledger(job.ledger) as ledger:
        version = f"{job.collection}_v1"
        documents = ledger.find_documents(version)
        assert documents is not None
        whole = find_fault(store.reader, documents)
        keys = [key.chunk_id for key in store.reader.iter_keys(version)]
        unrelated = dict(zip(keys, unit_vectors(len(keys), dimension=64, seed=9), strict=True))
        monkeypatch.setattr(store.reader, "fetch_vectors", lambda _, asked: {
            key: -np.asarray(unrelated[key]) for key in asked
        })  # fmt: skip

        fault = find_fault(store.reader, documents)

    assert whole == ""
    assert "does not find it" in fault


def test_a_rebuild_whose_server_changes_on_the_way_does_not_go_live(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    with HashEmbeddingServer() as server:
        changing = replace(lite_job, server=server)
        # Access checks and canaries are answered first; what follows is another model's.
        server.change_after(12, salt="other")

        done = changing.run("--rebuild", expect=2)

    assert "gives the canary texts other vectors" in done.stderr
    assert lite_job.live() == f"{lite_job.collection}_v1"


def test_a_rebuild_of_half_the_corpus_goes_live_only_by_force(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    half = dict(list(CORPUS.items())[:3])
    lite_job.write(half)

    refused = lite_job.run("--rebuild", expect=2)
    live = lite_job.live()
    lite_job.run("--rebuild", "--force")
    last, *_ = lite_job.history()

    assert "3 of 6 documents" in refused.stderr
    assert live == f"{lite_job.collection}_v1"
    assert (lite_job.versions(), lite_job.live()) == (["v1", "v2"], f"{lite_job.collection}_v2")
    assert last["num_chunks_embedded"] == 0


def test_a_rebuild_with_dead_letters_goes_live(lite_job: JobFolder) -> None:
    lite_job.write({**CORPUS, "bad": None})
    lite_job.run("--max-dead-letters", "1")

    lite_job.run("--rebuild", "--max-dead-letters", "1")

    assert lite_job.live() == f"{lite_job.collection}_v2"


def test_of_two_runs_with_other_state_folders_only_one_creates_a_version(job: JobFolder) -> None:
    with job.open_store() as store:
        versions = store.versions
        chosen, known = job.collection, make_contract()
        target = choose_target(
            versions, chosen, wanted=known, carried=(), rebuild=False, once_live=()
        )
        create_target(versions, chosen, target, contract=known)

        with pytest.raises(LockHeldError, match="with another state folder"):
            create_target(versions, chosen, target, contract=make_contract())

        assert versions.contract(target.name).collection_id == known.collection_id
    assert job.versions() == ["v1"]
