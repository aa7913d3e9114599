"""Requests are repeated while it is worth it, and no longer."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from object_store import HURRIED

from embed_index.pipeline.storage.requests import Attempt, Patience, Requests
from embed_index.schemas.errors import ConfigurationError, UnavailableError


def failing(*errors: Exception) -> Callable[[], int]:
    """An action that fails with one error after another, and then returns how often it ran."""
    left, num_calls = list(errors), 0

    def action() -> int:
        nonlocal num_calls
        num_calls += 1
        if left:
            raise left.pop(0)
        return num_calls

    return action


def call(requests: Requests, action: Callable[[], int], limit_seconds: float = 60.0) -> int:
    return requests.call(action, subject="s3://b/c", limit_seconds=limit_seconds)


def test_failures_that_pass_are_tried_again() -> None:
    assert call(Requests(HURRIED), failing(OSError("reset"), OSError("reset"))) == 3


def test_what_does_not_pass_is_not_tried_again() -> None:
    action = failing(PermissionError(13, "no"))

    with pytest.raises(ConfigurationError, match="may not be read with these credentials"):
        call(Requests(HURRIED), action)
    assert action() == 2


def test_what_is_not_there_is_for_the_caller_to_judge() -> None:
    with pytest.raises(FileNotFoundError):
        call(Requests(HURRIED), failing(FileNotFoundError(2, "gone")))


def test_an_outage_that_lasts_ends_with_the_last_failure() -> None:
    patience = Patience(first_ceiling_seconds=0.01, max_ceiling_seconds=0.01, deadline_seconds=0.1)

    with pytest.raises(UnavailableError, match=r"could not be read for 0 s \(reset\)"):
        call(Requests(patience), failing(*[OSError("reset")] * 10_000))


def test_a_request_that_stalls_is_left_behind() -> None:
    released, num_calls = threading.Event(), 0

    def stalls_once() -> int:
        nonlocal num_calls
        num_calls += 1
        if num_calls == 1:
            released.wait()
        return num_calls

    assert call(Requests(HURRIED), stalls_once, limit_seconds=0.05) == 2
    released.set()


def test_a_stop_ends_all_waiting_at_once() -> None:
    requests, released = Requests(Patience()), threading.Event()
    stopper = threading.Timer(0.05, requests.stop)
    stopper.start()
    begun = time.monotonic()

    with pytest.raises(UnavailableError, match="reading was stopped"):
        call(requests, lambda: int(released.wait()), limit_seconds=3600.0)
    with pytest.raises(UnavailableError, match="reading was stopped"):
        call(requests, failing(*[OSError("reset")] * 10_000))
    assert time.monotonic() - begun < 60
    released.set()
    stopper.join()


def test_an_attempt_that_was_begun_is_the_first() -> None:
    begun = Attempt(lambda: 7)

    assert (
        Requests(HURRIED).call(
            failing(OSError("never run")), subject="s3://b/c", limit_seconds=60.0, begun=begun
        )
        == 7
    )


@pytest.mark.parametrize(("failures", "ceiling"), [(1, 0.5), (2, 1.0), (5, 8.0), (900, 20.0)])
def test_pauses_grow_to_a_cap(failures: int, ceiling: float) -> None:
    assert Patience().ceiling_seconds(failures) == ceiling


def test_what_was_left_behind_ends_before_the_interpreter_does() -> None:
    program = (
        "import time\n"
        "from embed_index.pipeline.storage.requests import Attempt\n"
        "def late(): time.sleep(0.3); print('ended', flush=True)\n"
        "Attempt(late)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert done.stdout == b"ended\n"
