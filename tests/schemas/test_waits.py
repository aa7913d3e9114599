"""What is said of a wait, and when."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from embed_index.schemas import waits
from embed_index.schemas.waits import Waits

PLACE = "Milvus at http://milvus:19530"


class Told:
    """Keeps what is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._said = threading.Semaphore(0)

    def __call__(self, message: str) -> None:
        self.messages.append(message)
        self._said.release()

    def one(self) -> str:
        assert self._said.acquire(timeout=30)
        return self.messages[-1]


@contextmanager
def telling(told: Told, monkeypatch: pytest.MonkeyPatch, *, quiet: float) -> Iterator[Waits]:
    monkeypatch.setattr(waits, "_QUIET_SECONDS", quiet)
    here = Waits()
    with here.telling(told):
        yield here


def test_a_long_wait_is_told_once_with_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()

    with telling(told, monkeypatch, quiet=0.01) as here:
        for place, seconds in ((PLACE, 75.0), (PLACE, 75.0), ("s3://b", None)):
            with here.waiting_for(place, seconds=seconds):
                if place != PLACE or not told.messages:
                    told.one()

    assert told.messages == [
        f"waiting for {PLACE}, until it answers or 75 s have gone by",
        "waiting for s3://b, until it answers",
    ]


def test_a_short_wait_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    with telling(told, monkeypatch, quiet=3600.0) as here, here.waiting_for(PLACE):
        timers = [t for t in threading.enumerate() if isinstance(t, threading.Timer)]

    for timer in timers:
        timer.join(timeout=30)
    assert (len(timers), told.messages) == (1, [])


def test_where_nobody_listens_no_thread_is_started() -> None:
    with Waits().waiting_for(PLACE):
        assert not [t for t in threading.enumerate() if isinstance(t, threading.Timer)]
