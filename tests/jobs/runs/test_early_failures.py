"""What fails before it has begun stands in the history, too."""

from dataclasses import replace

import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder

TEXTS = {"a": "Pumps.", "b": None}


@pytest.fixture
def lettered(lite_job: JobFolder) -> JobFolder:
    """A collection with a dead letter."""
    lite_job.write(TEXTS)
    lite_job.run("--max-dead-letters", "1")
    return lite_job


def call(job: JobFolder, command: str, *more: str, expect: int) -> str:
    _, *flags = job.arguments("--max-dead-letters", "1", *more)
    at = flags.index("--collection")
    del flags[at : at + 2]
    return job.call(command, job.collection, *flags, expect=expect).output


@pytest.mark.parametrize("command", [("retry",), ("verify", "--repair")], ids=" ".join)
def test_a_damaged_corpus_is_recorded(lettered: JobFolder, command: tuple[str, ...]) -> None:
    (lettered.folder / "corpus" / "a.parquet").write_bytes(b"PAR1 and no more")

    call(lettered, *command, expect=2)

    last, before = lettered.history()
    assert (last["outcome"], last["exit_code"], before["outcome"]) == ("failed", 2, "done")
    assert "a.parquet is not a readable Parquet file" in last["error"]


def test_a_server_that_is_away_is_recorded_once(lettered: JobFolder) -> None:
    with HashEmbeddingServer() as server:
        gone = replace(lettered, server=server)

    said = call(gone, "verify", "--repair", "--sample", "1", expect=4)

    last, before = lettered.history()
    assert (last["outcome"], last["exit_code"], before["outcome"]) == ("failed", 4, "done")
    assert last["error"].splitlines()[0] in said
    lettered.write(TEXTS | {"b": "Printers."})
    call(gone, "retry", expect=4)
    assert [run["exit_code"] for run in lettered.history()] == [4, 4, 0]


def test_what_changes_nothing_is_no_run(lettered: JobFolder) -> None:
    call(lettered, "verify", "--repair", expect=0)
    (lettered.folder / "corpus" / "a.parquet").write_bytes(b"PAR1 and no more")
    call(lettered, "verify", expect=2)

    assert len(lettered.history()) == 1
