"""Requests to a store: each has a time limit, and is repeated while it may succeed.

pyarrow's calls cannot be ended from outside, so each runs in a thread that can be left behind.
"""

import atexit
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakSet

# What it has done at the end must be registered before what is done before that.
import pyarrow.fs  # noqa: F401

from embed_index.pipeline.storage.faults import FAILURES, Fault, explain, judge
from embed_index.schemas.errors import UnavailableError
from embed_index.schemas.waits import WAITS

T = TypeVar("T")

_POLL_SECONDS = 0.2
_UNDER_WAY: "WeakSet[threading.Thread]" = WeakSet()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a store is waited for."""

    read_seconds: float = 60.0
    """For one range of a file, or a look at one."""
    listing_seconds: float = 300.0
    """For all pages of one folder."""
    first_ceiling_seconds: float = 0.5
    max_ceiling_seconds: float = 20.0
    deadline_seconds: float = 300.0
    """From a request's first failure; an attempt that was begun by then may end."""

    def ceiling_seconds(self, num_failures: int) -> float:
        """Return the longest pause after so many failures, counted from 1."""
        doublings = min(num_failures - 1, 32)
        return min(self.max_ceiling_seconds, self.first_ceiling_seconds * 2.0**doublings)


PATIENT = Patience()
"""For nights."""

BRIEF = Patience(read_seconds=20.0, listing_seconds=60.0, deadline_seconds=10.0)
"""For commands in front of which somebody waits."""


class Attempt(Generic[T]):
    """One request under way, in a thread that ends with the process if not before."""

    def __init__(self, action: Callable[[], T]) -> None:
        self._begun = time.monotonic()
        self._future: Future[T] = Future()
        thread = threading.Thread(target=self._run, args=(action,), daemon=True)
        _UNDER_WAY.add(thread)
        thread.start()

    def result(self, *, limit_seconds: float, stopped: threading.Event) -> T:
        """Return what came of it.

        Raises:
            TimeoutError: Nothing did in time, counted from its beginning.
            UnavailableError: Nobody waits for it any more.
        """
        while True:
            left = self._begun + limit_seconds - time.monotonic()
            try:
                return self._future.result(timeout=max(0.0, min(left, _POLL_SECONDS)))
            except TimeoutError:
                if self._future.done():
                    return self._future.result()
            if stopped.is_set():
                raise UnavailableError("input: reading was stopped")
            if left <= 0:
                raise TimeoutError(f"no answer in {limit_seconds:g} s")

    def _run(self, action: Callable[[], T]) -> None:
        try:
            self._future.set_result(action())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._future.set_exception(error)


@atexit.register
def _wait_for_attempts() -> None:
    """Let requests that were left behind end, so that pyarrow need not wait for them.

    At the interpreter's end it waits for S3's while it holds the interpreter's lock, and nothing
    could cut that short: not even the thread that sees to the end of an interrupted command.
    """
    for thread in tuple(_UNDER_WAY):
        thread.join()


class Requests:
    """All requests to stores that one reader makes."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End all waiting, from any thread; what waits raises an error."""
        self._stopped.set()

    def call(
        self,
        action: Callable[[], T],
        *,
        subject: str,
        limit_seconds: float,
        begun: Attempt[T] | None = None,
    ) -> T:
        """Make a request until it succeeds, fails for good, or the store stays away too long.

        Args:
            action: One attempt.
            subject: What is looked at, for errors.
            limit_seconds: For each attempt.
            begun: The first attempt, if it is under way.

        Raises:
            FileNotFoundError: It is not there.
            ConfigurationError: It may not be read, or there is no such bucket.
            UnavailableError: The store stays away.
        """
        place = "/".join(subject.split("/")[:3])
        latest = self.patience.deadline_seconds + 2 * limit_seconds
        with WAITS.waiting_for(place, seconds=latest):
            return self._call(
                action,
                subject=subject,
                limit_seconds=limit_seconds,
                attempt=begun or Attempt(action),
            )

    def _call(
        self, action: Callable[[], T], *, subject: str, limit_seconds: float, attempt: Attempt[T]
    ) -> T:
        first_failure: float | None = None
        num_failures = 0
        while True:
            try:
                return attempt.result(limit_seconds=limit_seconds, stopped=self._stopped)
            except FileNotFoundError:
                raise
            except FAILURES as error:
                now = time.monotonic()
                first_failure = now if first_failure is None else first_failure
                num_failures += 1
                pause = secrets.SystemRandom().uniform(
                    0.0, self.patience.ceiling_seconds(num_failures)
                )
                failing = now - first_failure
                is_late = failing + pause > self.patience.deadline_seconds
                if judge(error) is not Fault.PASSING or is_late:
                    raise explain(error, subject=subject, seconds=failing) from error
            if self._stopped.wait(pause):
                raise UnavailableError("input: reading was stopped")
            attempt = Attempt(action)
