"""A command in a process of its own that is sent signals, and how it ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from process_marks import MARK, processes_with, wait_for

_FORKING_COMMAND = Path(__file__).with_name("forking_command.py")
_LONGEST_SECONDS = 60.0
_LEFT_SECONDS = 3.0
"""For the guard of a server, which ends after our process, and because of that."""
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a command ended."""

    code: int
    seconds: float
    """From the last signal to its end."""
    word_seconds: float
    """From the first signal to what it said of it."""
    said: str
    left: Sequence[int]
    """Processes that it started and that are still there, a moment later."""


class Commands:
    """Starts one command after the other; leaving the context ends what is left of them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_FORKING_COMMAND)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer("ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._process:
            self._process.kill()

    def interrupt(
        self,
        arguments: Sequence[str],
        *,
        mark: str,
        folder: Path,
        environ: Mapping[str, str],
        is_at_work: Callable[[], bool],
        numbers: Sequence[signal.Signals],
        pause_seconds: float = 0.3,
    ) -> Ending:
        """Start a command, wait until it is at work, send it signals, and wait for its end."""
        messages = folder / f"{mark}.err"
        messages.touch()
        order = {
            "arguments": list(arguments),
            "folder": str(folder),
            "environ": {**environ, MARK: mark},
            "stderr": str(messages),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        pid = self._answer("pid")
        with _killed_after(pid, seconds=_LONGEST_SECONDS):

            def is_ready() -> bool:
                assert _is_alive(pid), f"ended before it was at work: {messages.read_text()}"
                return is_at_work()

            wait_for(is_ready, seconds=_LONGEST_SECONDS)
            num_said = messages.stat().st_size
            began = time.monotonic()
            os.kill(pid, numbers[0])
            last = began
            for number in numbers[1:]:
                time.sleep(pause_seconds)
                last = time.monotonic()
                # It may have ended of the first one by now.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            while messages.stat().st_size == num_said and _is_alive(pid):
                time.sleep(_POLL_SECONDS)
            word = time.monotonic()
            code = self._answer("code")
            ended = time.monotonic()
        while left := processes_with(mark):
            if time.monotonic() > ended + _LEFT_SECONDS:
                break
            time.sleep(_POLL_SECONDS)
        said = messages.read_text()
        return Ending(
            code=code,
            seconds=ended - last,
            word_seconds=word - began if len(said) > num_said else float("inf"),
            said=said,
            left=left,
        )

    def _answer(self, name: str) -> int:
        """Return an answer by its name, past those of a command that a test gave up on."""
        assert self._process.stdout is not None
        for line in iter(self._process.stdout.readline, ""):
            answer, _, number = line.partition(" ")
            if answer == name:
                return int(number)
        raise AssertionError("the process that forks commands has ended")


@contextmanager
def _killed_after(pid: int, *, seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
    timer.start()
    try:
        yield
    except BaseException:
        # Not reaped yet, or no process of ours.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise
    finally:
        timer.cancel()


def _is_alive(pid: int) -> bool:
    """Say whether a process runs; one that ended and that nobody has asked about does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
