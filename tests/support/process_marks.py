"""Processes told from all others by a mark in their environment, whatever group they are in."""

import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MARK = "SGLANG_TEST_MARK"
"""A name that a managed server passes on to its children."""


def wait_for(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    """Poll a condition of the outside world that nothing announces."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError(f"not true within {seconds} s")


def processes_with(mark: str) -> list[int]:
    """Every living process whose environment holds the mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                # A zombie's environment is empty.
                if wanted in (process / "environ").read_bytes():
                    found.append(int(process.name))
    return found


@pytest.fixture
def mark() -> Iterator[str]:
    """Tells a test's processes from all others, and ends what the test left."""
    mark = secrets.token_hex(8)
    yield mark
    for pid in processes_with(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
