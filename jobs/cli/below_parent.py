"""A run below a parent that says what became of it, where a library may end the process unasked.

Ray ends a driver whose cluster is gone with status 1 and without an exception. So the run is a
child that tells, over a pipe, with which code it ended; an end of which it told nothing was not its
own. The child leads a process group of its own, and each signal that the parent gets it gets once.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from embed_index.jobs.cli.failures import BUG, exit_code
from embed_index.jobs.cli.interruption import SIGNALS, Interruption
from embed_index.schemas.errors import UnavailableError

_VARIABLE = "EMBED_INDEX_BELOW"
"""Process id of the parent, and the number of the pipe's end."""
_MODULE = "embed_index.jobs.main"
_PR_SET_PDEATHSIG = 1
_NOT_FROM_WITHIN = frozenset({signal.SIGKILL, *SIGNALS})
"""Somebody else's doing."""


def run_below_parent(work: Callable[[], None], *, lost: UnavailableError) -> None:
    """Do the work in a child that is this same command line, and end as it ended.

    In the child, and where this process is not the command itself, it is done here.

    Args:
        work: What the command does.
        lost: Raised where the child's process was ended from within.

    Raises:
        SystemExit: The child ended by itself, with this code.
    """
    place = os.environ.pop(_VARIABLE, "").split(":")
    if place != [""] and int(place[0]) == os.getppid():
        with _telling(int(place[1])):
            work()
    elif Interruption.current is None:
        work()
    else:
        _raise_as_ended(*_wait_for_child(Interruption.current), lost=lost)


@contextmanager
def _telling(pipe: int) -> Iterator[None]:
    """Tell the parent how this ends, and end with it."""
    os.set_inheritable(pipe, False)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        yield
    except BaseException as error:
        os.write(pipe, b"%d" % exit_code(error))
        raise
    os.write(pipe, b"0")


def _wait_for_child(interruption: Interruption) -> tuple[int, bytes]:
    """Return the child's status, and what it told."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    child: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        for pid in child:
            os.kill(pid, number)

    # The child says that it is interrupted, and ends in time.
    with interruption.handed_over((), grace_seconds=0.0, says_a_word=False):
        handled = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, forward) for number in handled}
        try:
            child.append(
                os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-P", "-m", _MODULE, *sys.argv[1:]],
                    os.environ | {_VARIABLE: f"{os.getpid()}:{writer}"},
                    setpgroup=0,
                )
            )
            os.close(writer)
            _, status = os.waitpid(child[0], 0)
            child.clear()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    os.set_blocking(reader, False)
    told = b""
    # A process that the child left behind may hold the other end.
    with contextlib.suppress(BlockingIOError):
        told = os.read(reader, 16)
    os.close(reader)
    return status, told


def _raise_as_ended(status: int, told: bytes, *, lost: UnavailableError) -> None:
    if told:
        raise SystemExit(int(told))
    code = os.waitstatus_to_exitcode(status)
    if -code in _NOT_FROM_WITHIN:
        raise SystemExit(128 - code)
    if code < 0 or code == BUG:
        raise lost
    # The end that an interruption forces, or a usage that Click refuses.
    raise SystemExit(code)
