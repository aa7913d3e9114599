"""A collection that was cut by older rules stays as it is, and is not called drift."""

import json

import pyarrow.parquet as pq
import pytest
from job_fixtures import JobFolder

from embed_index.jobs.adapters import inputs
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.pipeline.model import spans
from embed_index.pipeline.model.boundaries import Cut
from embed_index.schemas.ids import chunk_id

CORPUS = {f"d{n}": f"# Part {n}\n\nThe pump runs on and on. " * (9 * n + 9) for n in range(4)}
OPTIONS = ("--carry", "topic")


@pytest.fixture
def old_job(lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    """Index the corpus as a program with other rules for cuts does."""
    with monkeypatch.context() as older:
        older.setattr(inputs, "SPLITTER_VERSION", 1)
        older.setattr(spans, "best_cut", lambda _, limit, **__: Cut(limit, "character"))
        lite_job.write(CORPUS)
        lite_job.run(*OPTIONS)
    return lite_job


def stored(job: JobFolder) -> dict[str, StoredChunk]:
    with job.open_store() as store:
        rows = store.reader.iter_chunks(f"{job.collection}_v1", with_text=True)
        return {row.chunk_id: row for row in rows}


def places(rows: dict[str, StoredChunk], doc_id: str) -> list[tuple[int, int]]:
    return sorted((row.char_start, row.char_end) for row in rows.values() if row.doc_id == doc_id)


def drift_of(job: JobFolder, *more: str, expect: int = 0) -> dict[str, int]:
    """Audit the collection; return how often what is not as it should be, by kind."""
    _, *flags = job.arguments("--carry", "topic")
    at = flags.index("--collection")
    del flags[at : at + 2]
    done = job.call("verify", job.collection, *flags, *more, "--json", expect=expect)
    drift = json.loads(done.stdout)["drift"]
    return {kind: found["count"] for kind, found in drift.items() if found["count"]}


def test_a_night_embeds_nothing_again_and_says_why(old_job: JobFolder) -> None:
    before = stored(old_job)
    told = old_job.run(*OPTIONS)

    assert old_job.history()[0]["num_chunks_embedded"] == 0
    assert stored(old_job) == before
    assert "other rules for cuts (1) than today's (2)" in told.output


def test_other_metadata_embed_nothing_either(old_job: JobFolder) -> None:
    before = stored(old_job)
    path = old_job.folder / "corpus" / "a.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(2, "topic", table["id"]), path)
    old_job.run(*OPTIONS)

    run = old_job.history()[0]
    assert (run["num_refreshed"], run["num_chunks_embedded"]) == (4, 0)
    after = stored(old_job)
    assert {row.carried["topic"] for row in after.values()} == set(CORPUS)
    assert [places(after, x) for x in CORPUS] == [places(before, x) for x in CORPUS]


def test_an_audit_finds_no_drift_before_and_after_a_change(old_job: JobFolder) -> None:
    assert drift_of(old_job, "--sample", "4") == {}
    before = stored(old_job)
    text = CORPUS["d1"] + "And it stopped."
    old_job.write(CORPUS | {"d1": text})
    old_job.run(*OPTIONS)
    after = stored(old_job)

    assert drift_of(old_job) == {}
    assert places(after, "d2") == places(before, "d2")
    assert all(text.startswith("The pump", begin) for begin, _ in places(after, "d1")[1:-1])


def test_a_row_that_is_lost_is_the_only_drift(old_job: JobFolder) -> None:
    with old_job.open_store() as store:
        store.delete_chunks(f"{old_job.collection}_v1", [chunk_id("d2", 1)])

    assert drift_of(old_job, expect=6) == {"missing": 1}
    drift_of(old_job, "--repair")
    assert drift_of(old_job) == {}


def test_a_row_that_is_altered_is_found(old_job: JobFolder) -> None:
    old_job.write(CORPUS | {"d1": CORPUS["d1"] + "And it stopped."})

    assert drift_of(old_job, expect=6)["stale"] > 1


def test_the_contract_says_by_which_rules(old_job: JobFolder) -> None:
    old_job.run(*OPTIONS, "--rebuild")
    with old_job.open_store() as store:
        contracts = [store.versions.contract(f"{old_job.collection}_v{n}") for n in (1, 2)]

    assert [contract.splitter for contract in contracts] == [1, 2]
    assert drift_of(old_job) == {}
