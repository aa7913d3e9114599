"""What a run that ended early says of the documents that it did not come to."""

import json

import pytest
from job_fixtures import JobFolder, stop_after_first_batch

DOCUMENTS = {f"d{n}": f"Text number {n} speaks of pumps. " * 8 for n in range(40)}
SMALL_REQUESTS = ("--max-in-flight", "1", "--batch-tokens", "64")


@pytest.fixture
def interrupted_job(lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    lite_job.write(DOCUMENTS)
    stop_after_first_batch(monkeypatch)
    return lite_job


def test_an_interrupted_run_says_how_many_documents_are_left(interrupted_job: JobFolder) -> None:
    done = interrupted_job.run(*SMALL_REQUESTS, expect=130)
    num_done = interrupted_job.history()[0]["num_documents_done"]

    assert 0 < num_done < len(DOCUMENTS)
    left = f"left          {len(DOCUMENTS) - num_done} documents; the next run goes on with"
    assert left in done.stderr


def test_an_interrupted_first_look_counts_to_its_limit(interrupted_job: JobFolder) -> None:
    done = interrupted_job.run(*SMALL_REQUESTS, "--limit", "30", "--log-format", "json", expect=130)
    (summary,) = [json.loads(line) for line in done.stdout.splitlines()]

    assert summary["num_documents_left"] == 30 - summary["num_documents_done"]


def test_where_a_condition_leaves_rows_out_nobody_knows_how_many(
    interrupted_job: JobFolder,
) -> None:
    done = interrupted_job.run(*SMALL_REQUESTS, "--where", "id != 'd39'", expect=130)

    (left,) = [line for line in done.stderr.splitlines() if line.startswith("left ")]
    assert "an unknown number of documents; the next run" in left


def test_a_run_that_came_to_its_end_leaves_nothing(lite_job: JobFolder) -> None:
    lite_job.write(DOCUMENTS)
    done = lite_job.run()

    assert "left" not in done.stdout
