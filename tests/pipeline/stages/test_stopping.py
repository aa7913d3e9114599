"""What is read ends where a run stops, whatever its source waits for."""

import threading
from collections.abc import Iterator

import pytest

from embed_index.pipeline.stages.stopping import read_until_stopped
from embed_index.schemas.errors import UnavailableError


def rows_and_then_an_outage() -> Iterator[int]:
    yield 1
    raise UnavailableError("input: reading was stopped")


def test_an_outage_is_no_error_once_the_run_stops() -> None:
    stopping = threading.Event()
    rows = read_until_stopped(rows_and_then_an_outage(), stopping)

    assert next(rows) == 1
    stopping.set()
    assert list(rows) == []


def test_before_that_it_is_one() -> None:
    with pytest.raises(UnavailableError):
        list(read_until_stopped(rows_and_then_an_outage(), threading.Event()))
