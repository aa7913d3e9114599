"""Promote, roll back and remove versions, on both Milvus targets."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from job_fixtures import JobFolder
from milvus_fixtures import make_batch, make_contract, slow_on_server

from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.schemas.errors import ConfigurationError

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps." for n in range(4)}


@pytest.fixture
def rebuilt(job: JobFolder) -> JobFolder:
    """A collection whose three versions were live one after another."""
    job.write(CORPUS)
    job.run()
    job.run("--rebuild")
    job.run("--rebuild")
    return job


@pytest.fixture
def rebuilt_lite(lite_job: JobFolder) -> JobFolder:
    lite_job.write(CORPUS)
    lite_job.run()
    lite_job.run("--rebuild")
    return lite_job


def ledger_of(job: JobFolder) -> Ledger:
    return Ledger(job.ledger)


def test_rollback_goes_back_step_by_step_and_promote_forward_again(rebuilt: JobFolder) -> None:
    name = rebuilt.collection

    first = rebuilt.on_collection("rollback", "--json").stdout
    second = rebuilt.on_collection("rollback").stdout
    third = rebuilt.on_collection("rollback", expect=2).stderr
    by_number = rebuilt.on_collection("promote", "2").stdout
    newest = rebuilt.on_collection("promote").stdout
    again = rebuilt.on_collection("promote", f"{name}_v3").stdout

    assert json.loads(first) == {"collection": name, "live": f"{name}_v2", "before": f"{name}_v3"}
    assert second == f"{name}_v1 is live, {name}_v2 was\n"
    assert f"has no version before {name}_v1" in third
    assert by_number == f"{name}_v2 is live, {name}_v1 was\n"
    assert newest == f"{name}_v3 is live, {name}_v2 was\n"
    assert again == f"{name}_v3 is live already\n"
    assert rebuilt.live() == f"{name}_v3"


@slow_on_server
def test_gc_drops_the_oldest_with_their_documents_and_never_the_live_one(
    rebuilt: JobFolder,
) -> None:
    name = rebuilt.collection
    rebuilt.on_collection("promote", "1")

    plan = json.loads(rebuilt.on_collection("gc", "--keep", "1", "--dry-run", "--json").stdout)
    after_plan = rebuilt.versions()
    done = rebuilt.on_collection("gc", "--keep", "1").stdout
    with ledger_of(rebuilt) as ledger:
        known = list(ledger.versions())
    rebuilt.on_collection("gc", "--keep", "0")

    assert plan == {
        "collection": name,
        "live": f"{name}_v1",
        "dropped": [f"{name}_v2"],
        "kept": [f"{name}_v1", f"{name}_v3"],
        "dry_run": True,
    }
    assert after_plan == ["v1", "v2", "v3"]
    assert done.splitlines() == [f"dropped {name}_v2", f"kept {name}_v1, live", f"kept {name}_v3"]
    assert known == [f"{name}_v1", f"{name}_v3"]
    assert rebuilt.versions() == ["v1"]
    assert rebuilt.live() == f"{name}_v1"
    assert set(rebuilt.doc_hashes("v1")) == set(CORPUS)


def test_gc_finishes_what_an_earlier_one_left_in_the_ledger(rebuilt_lite: JobFolder) -> None:
    job = rebuilt_lite
    with job.open_store() as store:
        store.versions.drop(f"{job.collection}_v1")

    job.on_collection("gc", "--keep", "2")

    with ledger_of(job) as ledger:
        assert list(ledger.versions()) == [f"{job.collection}_v2"]


@pytest.mark.parametrize("keep", [1, 0])
def test_gc_keeps_an_unfinished_rebuild_unless_nothing_is_to_be_kept(
    rebuilt_lite: JobFolder, keep: int
) -> None:
    job = rebuilt_lite
    begin_version(job)

    job.on_collection("gc", "--keep", str(keep))

    assert job.versions() == (["v1", "v2", "v3"] if keep else ["v2"])


def begin_version(job: JobFolder) -> None:
    """Leave a version as a rebuild does that dies early."""
    contract = make_contract(dimension=64)
    with job.open_store() as store, ledger_of(job) as ledger:
        version = store.versions.create(job.collection, contract=contract)
        ledger.documents(version, collection_id=contract.collection_id)


def test_an_unfinished_version_is_promoted_only_by_force(rebuilt_lite: JobFolder) -> None:
    job = rebuilt_lite
    begin_version(job)

    refused = job.on_collection("promote", expect=2).stderr
    live = job.live()
    job.on_collection("promote", "--force")

    assert "is not finished" in refused
    assert live == f"{job.collection}_v2"
    assert job.live() == f"{job.collection}_v3"


def test_rollback_passes_over_unfinished_versions(rebuilt_lite: JobFolder) -> None:
    job = rebuilt_lite
    begin_version(job)
    job.run("--rebuild")  # the contract of the third is another one, so that this is the fourth
    name = job.collection

    moved = job.on_collection("rollback").stdout

    assert moved == f"{name}_v2 is live, {name}_v4 was\n"


def test_a_version_with_lost_rows_is_promoted_only_by_force(rebuilt_lite: JobFolder) -> None:
    job = rebuilt_lite
    with job.open_store() as store:
        keys = [key.chunk_id for key in store.reader.iter_keys(f"{job.collection}_v1")]
        store.delete_chunks(f"{job.collection}_v1", keys[:1])

    refused = job.on_collection("promote", "1", expect=4).stderr
    live = job.live()
    job.on_collection("promote", "1", "--force")

    assert "it has 3 rows, and the ledger's documents have 4 chunks" in refused
    assert live == f"{job.collection}_v2"
    assert job.live() == f"{job.collection}_v1"


def test_without_a_ledger_only_force_promotes_and_none_is_created(rebuilt_lite: JobFolder) -> None:
    job = rebuilt_lite
    for file in job.state.glob("*.ledger*"):
        file.unlink()

    refused = job.on_collection("promote", "1", expect=2).stderr
    job.on_collection("rollback")

    assert "cannot be checked" in refused
    assert job.live() == f"{job.collection}_v1"
    assert not list(job.state.glob("*.ledger*"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("promote", "7"), "is not a version of"),
        (("promote", "other_v1"), "is not a version of"),
    ],
)
def test_a_version_that_does_not_exist_is_not_promoted(
    rebuilt_lite: JobFolder, command: tuple[str, str], message: str
) -> None:
    assert message in rebuilt_lite.on_collection(*command, expect=2).stderr
    assert rebuilt_lite.live() == f"{rebuilt_lite.collection}_v2"


@pytest.mark.parametrize("command", [("promote",), ("rollback",), ("gc", "--keep", "0")])
def test_no_version_is_touched_beside_a_run(rebuilt_lite: JobFolder, command: list[str]) -> None:
    with RunLock(rebuilt_lite.lock):
        done = rebuilt_lite.on_collection(*command, expect=5)

    assert f"process {os.getpid()}" in done.stderr
    assert rebuilt_lite.versions() == ["v1", "v2"]


@pytest.mark.parametrize("command", [("promote",), ("rollback",), ("gc", "--keep", "0")])
def test_a_name_that_is_no_collection_of_ours_is_refused(
    lite_job: JobFolder, command: list[str]
) -> None:
    assert "there is no collection" in lite_job.on_collection(*command, expect=2).stderr


@pytest.mark.parametrize("name", ["../escape", "docs_v1", "a b"])
def test_a_name_that_no_collection_can_have_touches_no_file(
    tmp_path: Path, lite_job: JobFolder, name: str
) -> None:
    lite_job.collection = name

    for command in (("promote",), ("gc", "--keep", "0"), ("status",), ("history",)):
        call = lite_job.on_ledger if command[0] in ("status", "history") else lite_job.on_collection
        assert "collection = " in call(*command, expect=2).stderr
    assert not list(tmp_path.iterdir())


def test_what_an_alias_points_at_is_not_dropped_by_any_name(store: MilvusStore, alias: str) -> None:
    version = store.versions.create(alias, contract=make_contract())
    store.upsert(version, make_batch(["one", "two"]))
    store.versions.set_live(alias, version=version)

    for name in (version, alias):
        with pytest.raises(ConfigurationError, match="not dropped"):
            store.versions.drop(name)

    assert store.reader.count(version) == 2


def test_a_collection_of_others_that_is_named_like_a_version_is_left_alone(
    lite_job: JobFolder,
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    foreign = f"{lite_job.collection}_v7"
    with lite_job.open_store() as store:
        store._connection.call(
            lambda client: client.create_collection(foreign, dimension=8), doing="creating"
        )

    lite_job.run("--rebuild")
    lite_job.on_collection("gc", "--keep", "0")

    assert lite_job.versions() == ["v8"]
    with lite_job.open_store() as store:
        assert store.versions.exists(foreign)


def test_an_alias_that_somebody_pointed_elsewhere_is_mended_by_promote_alone(
    lite_job: JobFolder,
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    other = replace(lite_job, collection=f"{lite_job.collection}_other")
    other.write({"other": "The only document of the other collection."})
    other.run()
    with lite_job.open_store() as store:
        store._connection.call(
            lambda client: client.alter_alias(f"{other.collection}_v1", lite_job.collection),
            doing="pointing",
        )

    refused = [
        lite_job.run("--delete-missing", "--force", expect=2),
        lite_job.run("--rebuild", expect=2),
        lite_job.on_collection("rollback", expect=2),
        lite_job.on_collection("gc", "--keep", "0", expect=2),
    ]
    lite_job.on_collection("promote", "1")

    for done in refused:
        assert f"points at '{other.collection}_v1', which is no version of it" in done.stderr
    assert lite_job.live() == f"{lite_job.collection}_v1"
    assert other.doc_hashes("v1").keys() == {"other"}
