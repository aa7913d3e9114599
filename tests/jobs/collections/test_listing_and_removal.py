"""Which collections there are, and one dropped with everything that belongs to it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from job_fixtures import JobFolder
from milvus_fixtures import slow_on_server

from embed_index.pipeline.disk.lock import RunLock

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps." for n in range(4)}


def listed(job: JobFolder, uri: str = "") -> list[dict[str, Any]]:
    where = ["--milvus-uri", uri or job.uri, "--state-dir", str(job.state)]
    rows: list[dict[str, Any]] = json.loads(job.call("collections", "--json", *where).stdout)
    return [row for row in rows if row["collection"].startswith(job.collection)]


def of_state(job: JobFolder) -> list[str]:
    """Return what the state folder holds that bears the collection's name."""
    return sorted(path.name for path in job.state.rglob(f"{job.collection}@*"))


@slow_on_server
def test_collections_are_listed_with_what_the_ledger_knows(job: JobFolder) -> None:
    other = replace(job, collection=f"{job.collection}_b")
    for each in (job, other):
        each.write({**CORPUS, "null": None})
        each.run("--max-dead-letters", "1")
    other.run("--rebuild", "--max-dead-letters", "1")

    first, second = listed(job)
    table = job.call("collections", "--milvus-uri", job.uri, "--state-dir", str(job.state)).stdout

    assert (first["live"], first["num_versions"]) == (f"{job.collection}_v1", 1)
    assert (second["live"], second["num_versions"]) == (f"{other.collection}_v2", 2)
    assert first["ledger"] == job.ledger.name
    assert (first["num_documents"], first["num_dead_letters"], first["last_outcome"]) == (
        4,
        1,
        "done",
    )
    assert f"{other.collection}  {other.collection}_v2         2          4" in table


def test_a_collection_of_another_milvus_is_listed_and_none_is_created(
    lite_job: JobFolder, tmp_path: Path
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    absent = tmp_path / "absent.db"

    (row,) = listed(lite_job, str(absent))

    assert (row["live"], row["num_versions"], row["num_documents"]) == (None, 0, 4)
    assert not absent.exists()


@slow_on_server
def test_a_dropped_collection_leaves_nothing_and_its_neighbours_alone(job: JobFolder) -> None:
    other = replace(job, collection=f"{job.collection}_b")
    for each in (job, other):
        each.write({**CORPUS, "null": None})
        each.run("--max-dead-letters", "1")
        each.run("--rebuild", "--max-dead-letters", "1")
    name = job.collection

    asked = job.on_collection("drop", expect=2).stderr
    after_asking = (job.live(), job.versions(), len(of_state(job)))
    done = job.on_collection("drop", "--yes").stdout
    again = job.on_collection("drop", "--yes", expect=2).stderr

    assert f"this would drop of '{name}': its name, {name}_v1, {name}_v2, the ledger" in asked
    assert "2 files of dead letters" in asked
    assert after_asking == (f"{name}_v2", ["v1", "v2"], 3)
    assert done.startswith(f"dropped {name}: its name, {name}_v1, {name}_v2, the ledger")
    assert f"there is no collection '{name}'" in again
    assert [row["collection"] for row in listed(job)] == [other.collection]
    assert not [file for file in of_state(job) if not file.endswith(".lock")]
    assert other.live() == f"{other.collection}_v2"
    assert set(other.doc_hashes("v2")) == set(CORPUS)


def test_a_removal_that_was_cut_short_is_gone_on_with(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    with lite_job.open_store() as store:
        store.versions.drop_alias(lite_job.collection)
        store.versions.drop_alias(lite_job.collection)

    lite_job.on_collection("drop", "--yes")
    lite_job.run()

    assert lite_job.versions() == ["v1"]
    assert set(lite_job.doc_hashes("v1")) == set(CORPUS)


def test_nothing_is_dropped_beside_a_run(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embed_index.pipeline.disk.lock._PATIENCE_SECONDS", 0.1)
    lite_job.write(CORPUS)
    lite_job.run()

    with RunLock(lite_job.lock):
        lite_job.on_collection("drop", "--yes", expect=5)

    assert set(lite_job.doc_hashes("v1")) == set(CORPUS)
