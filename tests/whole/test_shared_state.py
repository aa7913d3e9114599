"""Jobs that share a state folder: what belongs to one is not taken for another's."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from job_fixtures import JobFolder, hashes_of

from embed_index.jobs.adapters.places import dead_letter_folder
from embed_index.pipeline.audit import ledger_rebuild
from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.ledger.ledger import Ledger

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps. " * 9 for n in range(4)}
ANY = ("--max-dead-letters", "100%")


@pytest.fixture
def rebuilt(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Versions whose ledger was rebuilt from Milvus."""
    versions: list[str] = []
    rebuild = ledger_rebuild.rebuild_ledger

    def note(documents, chunks, **more):  # type: ignore[no-untyped-def]
        versions.append(documents.version)
        return rebuild(documents, chunks, **more)

    monkeypatch.setattr(ledger_rebuild, "rebuild_ledger", note)
    return versions


def in_another_milvus(job: JobFolder) -> JobFolder:
    """Return a job of the same collection name, with the same state folder."""
    return replace(job, uri=str(job.folder / "other.db"))


def to_shared_layout(job: JobFolder) -> None:
    """Put the state where a name had one ledger, whatever its Milvus."""
    for ending in ("ledger", "ledger-wal"):
        old = job.ledger.with_suffix(f".{ending}")
        if old.exists():
            old.rename(job.state / f"{job.collection}.{ending}")
    letters = dead_letter_folder(job.settings, job.collection)
    if letters.exists():
        letters.rename(letters.with_name(job.collection))


def spelled_otherwise(job: JobFolder) -> JobFolder:
    """Return a job on the same Milvus under an address that nobody can know to be the same.

    A hard link or a host name would be; a moved folder is the cheapest.
    """
    moved = job.folder / "moved.db"
    Path(job.uri).rename(moved)
    return replace(job, uri=str(moved))


def test_two_milvus_each_have_a_ledger_that_stays(lite_job: JobFolder, rebuilt: list[str]) -> None:
    jobs = [lite_job, in_another_milvus(lite_job)]
    lite_job.write({**CORPUS, "bad": None})
    for job in jobs:
        job.run(*ANY)

    for job in jobs * 2:
        job.run(*ANY)

    assert rebuilt == []
    for job in jobs:
        runs = json.loads(job.on_collection("history", "--json").stdout)
        assert [run["num_new"] for run in runs] == [0, 0, 4]
        assert [run["num_unchanged"] for run in runs] == [4, 4, 0]
        assert len(list(dead_letter_folder(job.settings, job.collection).iterdir())) == 3
        assert job.doc_hashes("v1") == hashes_of(CORPUS)


def test_two_milvus_may_be_worked_on_at_once(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)

    with RunLock(in_another_milvus(lite_job).lock):
        lite_job.run()
        assert json.loads(lite_job.on_ledger("status", "--json").stdout)["running"] is None

    assert lite_job.doc_hashes("v1") == hashes_of(CORPUS)


def test_a_ledger_of_the_shared_layout_is_taken_over(
    lite_job: JobFolder, rebuilt: list[str]
) -> None:
    lite_job.write({**CORPUS, "bad": None})
    lite_job.run(*ANY)
    to_shared_layout(lite_job)
    before = lite_job.on_ledger("history", "--json").stdout

    lite_job.run(*ANY)
    runs = lite_job.history()

    assert json.loads(before) == runs[1:]
    assert (rebuilt, runs[0]["num_unchanged"], runs[0]["num_chunks_embedded"]) == ([], 4, 0)
    assert len(list(dead_letter_folder(lite_job.settings, lite_job.collection).iterdir())) == 2
    assert not list(lite_job.state.glob(f"{lite_job.collection}.*"))


def test_of_two_jobs_one_takes_the_ledger_over_and_neither_embeds(
    lite_job: JobFolder, rebuilt: list[str]
) -> None:
    other = in_another_milvus(lite_job)
    lite_job.write(CORPUS)
    other.run()
    other.ledger.unlink()
    lite_job.run()
    to_shared_layout(lite_job)

    for job in [other, lite_job] * 2:
        job.run()
        last = json.loads(job.on_collection("history", "--json").stdout)[0]
        assert (last["num_unchanged"], last["num_chunks_embedded"]) == (4, 0)

    assert len(rebuilt) == 2


def test_a_ledger_is_not_taken_from_a_run_that_is_at_work(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    to_shared_layout(lite_job)

    with RunLock(lite_job.state / f"{lite_job.collection}.lock"):
        lite_job.run(expect=5)

    lite_job.run()
    assert lite_job.history()[0]["num_unchanged"] == 4


@pytest.mark.parametrize("cut_short", [True, False])
def test_what_is_only_in_the_ledgers_log_is_taken_over_with_it(
    lite_job: JobFolder, cut_short: bool
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    to_shared_layout(lite_job)
    old = lite_job.state / f"{lite_job.collection}.ledger"
    with Ledger(old) as ledger:
        ledger.runs.start("unfinished")
        copies = [(path, path.read_bytes()) for path in lite_job.state.glob(f"{old.name}*")]
    # As after a crash: the last transaction stands in the log alone.
    for path, content in copies:
        path.write_bytes(content)
    letters = lite_job.state / "dead-letters" / lite_job.collection
    if cut_short:
        dead_letter_folder(lite_job.settings, lite_job.collection).mkdir(parents=True)
        letters.mkdir()

    lite_job.run()

    assert [run["outcome"] for run in lite_job.history()] == ["done", "died", "done"]


def test_one_milvus_under_two_addresses_has_no_ledger_that_is_behind(
    lite_job: JobFolder, rebuilt: list[str]
) -> None:
    flags = ("--delete-missing", "--force")
    lite_job.write(CORPUS)
    lite_job.run()
    other = spelled_otherwise(lite_job)
    lite_job.write({name: CORPUS[name] for name in ("d0", "d1")})
    other.run(*flags)
    lite_job.write(CORPUS)
    Path(other.uri).rename(lite_job.uri)

    lite_job.run(*flags)

    assert lite_job.doc_hashes("v1") == hashes_of(CORPUS)
    assert rebuilt == [f"{lite_job.collection}_v1"] * 2


def verify(job: JobFolder) -> None:
    flags = job.arguments()[1:]
    at = flags.index("--collection")
    job.call("verify", job.collection, "--repair", *flags[:at], *flags[at + 2 :], expect=5)


@pytest.mark.parametrize(
    "command",
    [
        lambda job: job.run(expect=5),
        lambda job: job.on_collection("gc", "--keep", "0", expect=5),
        verify,
    ],
    ids=["run", "gc", "repair"],
)
def test_one_milvus_under_two_addresses_is_worked_on_by_one_run(
    lite_job: JobFolder, command: Callable[[JobFolder], object]
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    other = spelled_otherwise(lite_job)

    with RunLock(lite_job.lock):
        command(other)

    other.run()


@pytest.mark.parametrize("command", ["status", "history"])
def test_who_asks_for_one_of_two_collections_names_its_milvus(
    lite_job: JobFolder, command: str
) -> None:
    jobs = [lite_job, in_another_milvus(lite_job)]
    lite_job.write(CORPUS)
    lite_job.run()
    lite_job.on_ledger(command)
    jobs[1].run()

    refused = lite_job.on_ledger(command, expect=2)
    for job in jobs:
        job.on_collection(command)
    elsewhere = replace(lite_job, uri="http://nowhere:19530").on_collection(command, expect=2)

    assert "--milvus-uri" in refused.stderr
    assert all(job.ledger.name in refused.stderr for job in jobs)
    assert "for Milvus at http://nowhere:19530" in elsewhere.stderr
