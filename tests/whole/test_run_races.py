"""Whole runs that meet: one works, the other says who does, and a dead one blocks nobody."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder, hashes_of

from embed_index.pipeline.disk.lock import find_holder

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps." for n in range(9)}
WAIT_SECONDS = 120.0

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def racing(lite_job: JobFolder) -> Iterator[JobFolder]:
    """A job with a server of its own, which can be silent."""
    with HashEmbeddingServer() as server:
        yield replace(lite_job, server=server)


@contextmanager
def started(job: JobFolder, *more: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "embed_index.jobs.main", *job.arguments(*more)],
        env=job.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def first_to_end(*processes: "subprocess.Popen[str]") -> "subprocess.Popen[str]":
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        for process in processes:
            if process.poll() is not None:
                return process
        time.sleep(0.01)
    raise AssertionError("both runs are at work")


@pytest.mark.parametrize("num_races", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_of_two_runs_started_at_once_one_works_and_the_other_says_so(
    racing: JobFolder, num_races: int
) -> None:
    for race in range(1, num_races + 1):
        corpus = {**CORPUS, "changed": f"This is race {race}."}
        racing.write(corpus)
        # Whoever works has something to embed, and cannot end before the other has.
        with racing.server.silent(), started(racing) as one, started(racing) as two:
            loser = first_to_end(one, two)
            racing.server.answer()
            winner = two if loser is one else one
            assert winner.wait(WAIT_SECONDS) == 0
            assert loser.stderr is not None
            error, remedy = loser.stderr.read().splitlines()

        assert loser.returncode == 5
        held = (
            rf"process {winner.pid} on \S+, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d\."
        )
        about = f"error: {racing.collection}: Another run works on this collection"
        assert re.fullmatch(f"{about}: {held}", error)
        assert str(racing.lock) in remedy
        assert racing.doc_hashes("v1") == hashes_of(corpus)
        assert [run["outcome"] for run in racing.history()] == ["done"] * race


def test_a_run_that_was_killed_blocks_nobody(racing: JobFolder) -> None:
    racing.write(CORPUS)
    lock = racing.lock
    with racing.server.silent(), started(racing) as killed:
        deadline = time.monotonic() + WAIT_SECONDS
        while find_holder(lock) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert lock.read_text()

    racing.run()

    assert racing.doc_hashes("v1") == hashes_of(CORPUS)
