"""A chunk that the server refuses is refused once: the nights after it cost nothing."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder, hashes_of

from embed_index.jobs.runs.indexing_pass import IndexingPass
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.pipeline.stages.dead_letters import read_dead_letters

GOOD = {f"d{n}": f"Text number {n} speaks of pumps. " * (4 * n + 1) for n in range(4)}
SENTENCES = [f"Sentence {k} speaks of valves." for k in range(40)]
BAD = " ".join([*SENTENCES[:20], "A zyzzyva sits here.", *SENTENCES[20:]])
CORPUS = {**GOOD, "bad": BAD, "alone": "Only zyzzyva."}
FLAGS = ("--carry", "topic", "--max-dead-letters", "2")


@pytest.fixture
def picky(lite_job: JobFolder, tokenizer: ModelTokenizer) -> Iterator[JobFolder]:
    """A job over documents, two of which have a chunk that the server refuses; run once."""
    poison = tokenizer.encode_for_model(" zyzzyva").tolist()[:-1]
    with HashEmbeddingServer() as server:
        server.refuse(lambda ids: any(ids[k : k + len(poison)] == poison for k in range(len(ids))))
        picky = replace(lite_job, server=server)
        picky.write(CORPUS)
        picky.run(*FLAGS)
        yield picky


def without_server(job: JobFolder) -> JobFolder:
    with HashEmbeddingServer() as gone:
        return replace(job, server=gone)


def stored(job: JobFolder) -> dict[str, list[int]]:
    """Return the indexes of each document's chunks that are in Milvus."""
    with job.open_store() as store:
        keys = list(store.reader.iter_keys(f"{job.collection}_v1"))
    return {
        doc_id: sorted(key.chunk_index for key in keys if key.doc_id == doc_id)
        for doc_id in {key.doc_id for key in keys}
    }


def on_job(job: JobFolder, command: str, *more: str, expect: int = 0) -> dict[str, Any]:
    _, *flags = job.arguments("--carry", "topic", "--json", *more)
    at = flags.index("--collection")
    done = job.call(command, job.collection, *flags[:at], *flags[at + 2 :], expect=expect)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def change_topics(job: JobFolder) -> None:
    path = job.folder / "corpus" / "a.parquet"
    table = pq.read_table(path)
    topics = pa.array(["other"] * len(table), pa.string())
    pq.write_table(table.set_column(2, "topic", topics), path)


def test_the_other_chunks_of_a_document_are_kept(picky: JobFolder) -> None:
    first = picky.history()[0]
    found = stored(picky)

    assert first["num_dead_letters"] == 2
    assert found.keys() == {*GOOD, "bad"}
    assert len(found["bad"]) == max(found["bad"])


def test_the_next_night_embeds_nothing_needs_no_server_and_counts_the_letters(
    picky: JobFolder,
) -> None:
    before = stored(picky)

    without_server(picky).run(*FLAGS)
    last = picky.history()[0]

    counts = {name: last[f"num_{name}"] for name in ("new", "changed", "refreshed", "unchanged")}
    assert counts == {"new": 0, "changed": 0, "refreshed": 0, "unchanged": len(CORPUS)}
    assert (last["num_chunks_embedded"], last["num_chunks_reused"]) == (0, 0)
    assert last["num_dead_letters"] == 2
    assert stored(picky) == before


def test_every_night_ends_as_the_limit_says_and_names_the_chunks(picky: JobFolder) -> None:
    without_server(picky).run("--carry", "topic", "--max-dead-letters", "1", expect=3)
    without_server(picky).run("--carry", "topic", "--max-dead-letters", "1", expect=3)

    files = sorted((picky.state / "dead-letters").rglob("*.parquet"))
    told = [{(x.doc_id, x.chunk_index, x.attempts) for x in read_dead_letters(f)} for f in files]
    assert len(told) == 3
    assert told[0] == told[1] == told[2]
    assert {doc_id for doc_id, _, _ in told[0]} == {"bad", "alone"}


def test_a_retry_tries_the_dead_chunks_alone(picky: JobFolder) -> None:
    refused = on_job(picky, "retry", "--max-dead-letters", "2")
    without_server(picky).run(*FLAGS)
    between = picky.history()[0]
    picky.server.refuse(lambda _: False)

    taken = on_job(picky, "retry")
    without_server(picky).run("--carry", "topic")
    last = picky.history()[0]

    assert (refused["num_remaining"], refused["num_chunks_embedded"]) == (2, 0)
    assert {x["attempts"] for x in refused["remaining"]} == {2}
    assert (between["num_unchanged"], between["num_dead_letters"]) == (len(CORPUS), 2)
    assert (taken["num_remaining"], taken["num_chunks_embedded"]) == (0, 2)
    assert (last["num_unchanged"], last["num_dead_letters"]) == (len(CORPUS), 0)
    assert picky.doc_hashes("v1") == hashes_of(CORPUS)


def test_a_run_tries_dead_chunks_again_once_they_have_an_age(picky: JobFolder) -> None:
    before = stored(picky)

    without_server(picky).run(*FLAGS, "--retry-after-days", "1")
    young = picky.history()[0]
    picky.run(*FLAGS, "--retry-after-days", "0")
    refused = picky.history()[0]
    between = stored(picky)
    without_server(picky).run(*FLAGS)
    untried = picky.history()[0]
    picky.server.refuse(lambda _: False)
    picky.run(*FLAGS, "--retry-after-days", "0")
    taken = picky.history()[0]
    without_server(picky).run(*FLAGS, "--retry-after-days", "0")
    last = picky.history()[0]

    assert (young["num_unchanged"], young["num_dead_letters"]) == (len(CORPUS), 2)
    assert (refused["num_unchanged"], refused["num_dead_letters"]) == (len(GOOD), 2)
    assert refused["num_chunks_embedded"] == 0
    assert between == before
    assert (untried["num_unchanged"], untried["num_dead_letters"]) == (len(CORPUS), 2)
    assert (taken["num_chunks_embedded"], taken["num_dead_letters"]) == (2, 0)
    assert (last["num_unchanged"], last["num_dead_letters"]) == (len(CORPUS), 0)
    assert picky.doc_hashes("v1") == hashes_of(CORPUS)


def test_a_retry_that_dies_leaves_no_more_than_the_dead_chunks_to_try(
    picky: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored(picky)

    def die(_: IndexingPass, **_settle: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(IndexingPass, "run", die)
        _, *flags = picky.arguments("--carry", "topic")
        at = flags.index("--collection")
        picky.call("retry", picky.collection, *flags[:at], *flags[at + 2 :], expect=130)

    picky.run(*FLAGS)
    last = picky.history()[0]

    assert (last["num_unchanged"], last["num_chunks_embedded"]) == (len(GOOD), 0)
    assert (last["num_chunks_reused"], last["num_dead_letters"]) == (len(before["bad"]), 2)
    assert stored(picky) == before


def test_a_changed_document_is_tried_again(picky: JobFolder) -> None:
    picky.server.refuse(lambda _: False)
    changed = {**CORPUS, "bad": BAD + " And a last one."}
    picky.write(changed)

    picky.run(*FLAGS)
    last = picky.history()[0]

    assert (last["num_changed"], last["num_dead_letters"]) == (1, 1)
    assert last["num_chunks_embedded"] == 2
    assert len(stored(picky)["bad"]) == max(stored(picky)["bad"]) + 1


def test_a_document_whose_last_mention_is_gone_has_no_letter(picky: JobFolder) -> None:
    picky.write({**GOOD, "bad": BAD.replace("zyzzyva", "weevil")})

    picky.run("--carry", "topic", "--delete-missing", "--max-delete-share", "0.5")

    assert picky.history()[0]["num_dead_letters"] == 0
    assert on_job(picky, "verify", "--sample", "0")["num_dead_letters"] == 0


def test_other_metadata_are_written_without_another_try(picky: JobFolder) -> None:
    before = stored(picky)
    change_topics(picky)

    without_server(picky).run(*FLAGS)
    last = picky.history()[0]

    assert (last["num_refreshed"], last["num_unchanged"]) == (len(CORPUS), 0)
    assert (last["num_chunks_embedded"], last["num_dead_letters"]) == (0, 2)
    assert stored(picky) == before
    assert on_job(picky, "verify", "--sample", "0")["drift"] == {}


def test_a_dead_chunk_is_no_drift_and_any_other_that_lacks_is(picky: JobFolder) -> None:
    clean = on_job(picky, "verify", "--sample", "1000")
    with picky.open_store() as store:
        version = f"{picky.collection}_v1"
        keys = [x for x in store.reader.iter_keys(version) if x.doc_id == "bad"]
        store.delete_chunks(version, [keys[0].chunk_id])

    found = on_job(picky, "verify", "--sample", "0", expect=6)
    mended = on_job(picky, "verify", "--sample", "0", "--repair")

    assert (clean["drift"], clean["num_dead_letters"]) == ({}, 2)
    assert {kind: x["count"] for kind, x in found["drift"].items()} == {"missing": 1}
    assert mended["num_chunks_embedded"] == 1
    assert mended["after_repair"]["drift"] == {}
    assert mended["after_repair"]["num_dead_letters"] == 2


def test_a_lost_ledger_has_the_chunks_tried_once_more(picky: JobFolder) -> None:
    before = stored(picky)
    for file in picky.state.glob("*.ledger*"):
        file.unlink()

    picky.run(*FLAGS)
    tried = picky.history()[0]
    without_server(picky).run(*FLAGS)
    last = picky.history()[0]

    assert (tried["num_unchanged"], tried["num_dead_letters"]) == (len(GOOD), 2)
    assert (last["num_unchanged"], last["num_dead_letters"]) == (len(CORPUS), 2)
    assert stored(picky) == before


def test_a_new_version_with_dead_chunks_goes_live(picky: JobFolder) -> None:
    picky.run(*FLAGS, "--rebuild")

    assert picky.live() == f"{picky.collection}_v2"
    assert picky.history()[0]["num_dead_letters"] == 2
    without_server(picky).run(*FLAGS)
    assert picky.history()[0]["num_unchanged"] == len(CORPUS)


def test_unusable_vectors_cost_a_few_requests_each(
    lite_job: JobFolder, tokenizer: ModelTokenizer
) -> None:
    spoilt = tokenizer.encode_for_model(" zyzzyva").tolist()[:-1]
    corpus = {f"d{n}": f"Number {n} speaks of{' zyzzyva' * (n % 3 == 0)}." for n in range(300)}
    with HashEmbeddingServer() as server:
        server.spoil(lambda ids: any(ids[k : k + len(spoilt)] == spoilt for k in range(len(ids))))
        job = replace(lite_job, server=server)
        job.write(corpus)

        job.run("--max-dead-letters", "100")

        assert server.num_requests < 300
    good = {doc_id: text for doc_id, text in corpus.items() if "zyzzyva" not in text}
    assert job.doc_hashes("v1") == hashes_of(good)
    assert job.history()[0]["num_dead_letters"] == 100
