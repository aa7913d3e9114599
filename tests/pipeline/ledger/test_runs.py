import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.ledger.runs import RunOrigin
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.summary import RunCounters


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "docs.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as opened:
        yield opened


def test_a_run_is_recorded_from_start_to_finish(ledger: Ledger) -> None:
    run = ledger.runs.start("docs_v1")
    counters = RunCounters(num_documents_read=5, num_new=2, seconds=1.5)

    ledger.runs.finish(
        run.id, outcome="dead_letters", exit_code=3, counters=counters, error="too many"
    )

    last = ledger.runs.last()
    assert last is not None
    assert last.finished_at is not None
    assert last.finished_at >= run.started_at
    assert last.counters == counters
    assert (last.outcome, last.exit_code, last.error) == ("dead_letters", 3, "too many")
    assert last.origin == RunOrigin.current()
    assert last.origin.pid == os.getpid()


def test_a_run_that_died_is_interrupted_when_the_next_one_starts(ledger: Ledger) -> None:
    died = ledger.runs.start("docs_v1")
    ledger.runs.update(died.id, counters=RunCounters(num_new=9))

    ledger.runs.start("docs_v1")

    assert [run.outcome for run in ledger.runs.latest()] == ["running", "interrupted"]
    assert ledger.runs.get(died.id).counters == RunCounters(num_new=9)
    assert [run.outcome for run in ledger.runs.latest(max_runs=1)] == ["running"]


def test_there_is_no_last_run_before_the_first(ledger: Ledger) -> None:
    assert ledger.runs.last() is None
    with pytest.raises(ConfigurationError, match="run 1"):
        ledger.runs.get(1)


def test_counters_of_other_releases_are_read(ledger: Ledger) -> None:
    assert RunCounters.from_json('{"num_new": 3, "num_of_the_future": 1}') == RunCounters(num_new=3)
