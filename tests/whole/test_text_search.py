"""Collections with text search go through everything that others do."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from drift_planting import opened
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder
from milvus_server import MilvusServer

from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.schemas.errors import StoreError

DOCUMENTS = {
    "pump": "Close both valves before the pump is opened.",
    "coffee": "Descale the machine, or it shows E-4012.",
    "long": " ".join(f"Sentence {n} of a long document." for n in range(60)),
    "huge": "valves " * 40,
}
TEXT = "--text-search"
PLAIN = ("--query-instruction", "")


def words_find(job: JobFolder, text: str, *more: str) -> list[str]:
    done = job.on_collection("search", text, "--mode", "text", "--json", *more)
    return [hit["doc_id"] for hit in json.loads(done.stdout)]


def verify(job: JobFolder, *more: str, expect: int = 0) -> None:
    _, *flags = job.arguments(TEXT, *PLAIN, "--carry", "topic")
    at = flags.index("--collection")
    del flags[at : at + 2]
    job.call("verify", job.collection, *flags, *more, expect=expect)


@pytest.fixture
def indexed(lite_job: JobFolder) -> JobFolder:
    lite_job.write(DOCUMENTS)
    lite_job.run(TEXT, *PLAIN, "--carry", "topic")
    return lite_job


def test_a_night_keeps_words_in_step_and_an_audit_mends_them(indexed: JobFolder) -> None:
    changed = DOCUMENTS | {"coffee": "Descale the machine, or it shows E-7777."}
    del changed["pump"]
    indexed.write(changed)
    indexed.run(TEXT, *PLAIN, "--carry", "topic", "--delete-missing", "--max-delete-share", "0.5")

    assert words_find(indexed, "E-7777") == ["coffee"]
    assert words_find(indexed, "4012") == words_find(indexed, "pump") == []
    verify(indexed)
    with opened(indexed) as parts:
        parts.delete(parts.rows("long")[1].chunk_id)
    verify(indexed, expect=6)
    verify(indexed, "--repair")
    verify(indexed)
    num_embedded = indexed.server.num_embedded
    indexed.run(TEXT, *PLAIN, "--carry", "topic")
    assert indexed.server.num_embedded == num_embedded


def test_the_contract_says_how_texts_are_taken_apart(indexed: JobFolder) -> None:
    done = indexed.call("describe", indexed.collection, "--json", "--milvus-uri", indexed.uri)
    described = json.loads(done.stdout)

    assert described["contract"]["text_analyzer"] == "standard"
    assert described["contract"]["format_version"] == 2


@pytest.mark.parametrize(
    ("flags", "there_and_here"),
    [
        ((), "text_analyzer is 'standard' there and '' in this job"),
        (
            (TEXT, "--text-analyzer", '{"filter": ["lowercase"], "tokenizer": "standard"}'),
            "is 'standard' there and '{\"filter\"",
        ),
    ],
)
def test_another_way_to_take_texts_apart_needs_a_rebuild(
    indexed: JobFolder, flags: tuple[str, ...], there_and_here: str
) -> None:
    refused = indexed.run(*flags, *PLAIN, "--carry", "topic", expect=2)

    assert there_and_here in refused.stderr
    assert "--rebuild" in refused.stderr

    indexed.run(*flags, *PLAIN, "--carry", "topic", "--rebuild")
    assert indexed.versions() == ["v1", "v2"]
    if flags:
        assert words_find(indexed, "E-4012") == ["coffee"]
        indexed.on_collection("rollback")
        assert words_find(indexed, "E-4012") == ["coffee"]


def test_a_collection_gets_its_words_by_a_rebuild(lite_job: JobFolder) -> None:
    lite_job.write(DOCUMENTS)
    lite_job.run(*PLAIN)
    refused = lite_job.on_collection("search", "E-4012", "--mode", "hybrid", expect=2)
    assert "cannot be searched by words" in refused.stderr

    lite_job.run(TEXT, *PLAIN, "--rebuild")

    assert words_find(lite_job, "E-4012", "--limit", "1") == ["coffee"]


@pytest.mark.parametrize("analyzer", ["standard", '{"tokenizer": "standard"}'])
def test_words_cost_no_vectors_but_those_of_texts_that_changed(
    lite_job: JobFolder, analyzer: str
) -> None:
    first = (TEXT,) if analyzer != "standard" else ()
    lite_job.write(DOCUMENTS)
    lite_job.run(*first, *PLAIN, "--carry", "topic")
    with lite_job.open_store() as store:
        before = {row.chunk_id: row for row in _rows(store, lite_job, "v1")}
    num_embedded = lite_job.server.num_embedded
    flags = (TEXT, "--text-analyzer", analyzer, *PLAIN, "--carry", "topic", "--rebuild")

    nowhere = {"EMBEDDING_API_BASE": "http://127.0.0.1:9", "EMBEDDING_API_KEY": "x"}
    done = lite_job.run(*flags, environment=nowhere)

    assert "takes over the vectors of equal texts" in done.stderr
    assert lite_job.server.num_embedded == num_embedded
    assert lite_job.live() == f"{lite_job.collection}_v2"
    assert words_find(lite_job, "E-4012") == ["coffee"]
    with lite_job.open_store() as store:
        after = {row.chunk_id: row for row in _rows(store, lite_job, "v2")}
        contracts = [store.versions.contract(f"{lite_job.collection}_v{n}") for n in (1, 2)]
    assert before.keys() == after.keys()
    assert all(np.all(before[key].vector == after[key].vector) for key in before)
    assert contracts[0].canaries == contracts[1].canaries
    assert contracts[0].collection_id != contracts[1].collection_id
    if analyzer == "standard":
        verify(lite_job)
    lite_job.write(DOCUMENTS | {"pump": "Other words altogether."})
    lite_job.run(*flags[:-1])
    assert words_find(lite_job, "altogether") == ["pump"]


def test_a_rebuild_into_which_a_changed_corpus_goes_embeds_what_changed(
    lite_job: JobFolder,
) -> None:
    lite_job.write(DOCUMENTS)
    lite_job.run(*PLAIN)
    lite_job.write(DOCUMENTS | {"pump": "Other words altogether.", "new": "A new document."})

    lite_job.run(TEXT, *PLAIN, "--rebuild")

    run = lite_job.history()[0]
    assert (run["num_chunks_embedded"], run["num_chunks_reused"]) == (2, 15)
    assert words_find(lite_job, "altogether") == ["pump"]
    assert words_find(lite_job, "new") == ["new"]


def test_such_a_rebuild_that_was_cut_short_is_continued(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite_job.write(DOCUMENTS)
    lite_job.run(*PLAIN)
    num_embedded = lite_job.server.num_embedded
    with monkeypatch.context() as patched:
        patched.setattr("embed_index.jobs.runs.index.settle", _fail)
        lite_job.run(TEXT, *PLAIN, "--rebuild", expect=4)
    assert lite_job.live() == f"{lite_job.collection}_v1"

    lite_job.run(TEXT, *PLAIN, "--rebuild")

    assert lite_job.versions() == ["v1", "v2"]
    assert lite_job.live() == f"{lite_job.collection}_v2"
    assert lite_job.server.num_embedded == num_embedded
    assert words_find(lite_job, "E-4012") == ["coffee"]


def _fail(*_: object, **__: object) -> None:
    raise StoreError("planted")


def test_another_model_or_width_is_embedded_anew(lite_job: JobFolder) -> None:
    lite_job.write(DOCUMENTS)
    lite_job.run(*PLAIN)

    done = lite_job.run(TEXT, *PLAIN, "--rebuild", "--dimension", "32")

    assert "takes over" not in done.stderr
    assert words_find(lite_job, "E-4012") == ["coffee"]


def _rows(store: MilvusStore, job: JobFolder, version: str) -> Iterator[StoredChunk]:
    return store.reader.iter_chunks(f"{job.collection}_{version}", with_vectors=True)


def test_a_search_by_words_needs_no_server_and_one_by_both_has_filters_and_groups(
    indexed: JobFolder, tmp_path: Path
) -> None:
    queries = tmp_path / "q.jsonl"
    queries.write_text('{"query": "valves"}\n{"query": "sentence"}\n')

    nowhere = {"EMBEDDING_API_BASE": "http://127.0.0.1:9", "EMBEDDING_API_KEY": "x"}
    alone = indexed.on_collection("search", "E-4012", "--mode", "text", environment=nowhere)
    both = indexed.on_collection(
        "search", "--queries", str(queries), "--mode", "hybrid", "--weights", "0", "1",
        "--group-by", "document", "--filter", 'doc_id != "huge"', "--limit", "1",
        "--format", "jsonl", "--model", str(indexed.model),
    )  # fmt: skip

    assert "  coffee  " in alone.stdout
    assert [json.loads(line)["doc_id"] for line in both.stdout.splitlines()] == ["pump", "long"]


def test_hits_whose_text_is_cut_are_marked(lite_job: JobFolder) -> None:
    lite_job.write({"cut": "valves " * 12_000, "whole": "a valve"})
    lite_job.run(TEXT, "--max-tokens", "32768", *PLAIN)

    found = lite_job.on_collection("search", "valves valve", "--mode", "text").stdout

    (cut,) = (line for line in found.splitlines() if "text cut in Milvus" in line)
    assert "  cut  " in cut


@pytest.mark.parametrize(
    ("analyzer", "sentence"),
    [
        ("english", "Milvus Lite has no english; it has standard and chinese"),
        ('{"tokenizer": "standard", "filter": ["stemmer"]}', "Milvus Lite would pass over"),
        ("klingon", "must be standard, english, chinese or a JSON object"),
        ("[1]", "or a JSON object"),
    ],
)
def test_an_analyzer_that_the_target_does_not_have_is_refused_before_the_first_document(
    lite_job: JobFolder, analyzer: str, sentence: str
) -> None:
    lite_job.write(DOCUMENTS)
    num_embedded = lite_job.server.num_embedded

    refused = lite_job.run(TEXT, "--text-analyzer", analyzer, expect=2)

    assert sentence in refused.stderr
    assert (lite_job.versions(), lite_job.server.num_embedded) == ([], num_embedded)


@pytest.mark.milvus_server
def test_a_server_that_cannot_search_by_words_is_named_before_the_first_document(
    tmp_path: Path,
    sample_model: Path,
    hash_server: HashEmbeddingServer,
    milvus_server: MilvusServer,
) -> None:
    job = JobFolder(folder=tmp_path, uri=milvus_server.uri, model=sample_model, server=hash_server)
    job.write(DOCUMENTS)
    num_embedded = hash_server.num_embedded

    refused = job.run(TEXT, expect=2)

    assert f"Milvus at {milvus_server.uri} is v2.3.5" in refused.stderr
    assert "searches by words from 2.5 on" in refused.stderr
    assert (job.versions(), hash_server.num_embedded) == ([], num_embedded)
