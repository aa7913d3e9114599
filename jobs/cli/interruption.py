"""The certain end of a command that SIGINT, SIGTERM or SIGHUP interrupts.

The first signal has the command end in order, and those after it have it end sooner; what Python
cannot interrupt, such as a thread or a library that waits, does not hold it up. Whatever ends with
the process may: a run goes on from what Milvus and its ledger hold, and the guard of a server of
our own ends it.
"""

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from embed_index.jobs.cli.failures import INTERRUPTED, Invocation, failure_text, notice_text

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_END_SECONDS = 5.0
"""To close what is open, where nothing is in flight that may be finished."""
_END_AT_ONCE_SECONDS = 3.0
_LAST_SECONDS = 1.0
"""For threads that outlive the command's own last word."""
_WORD_SECONDS = 0.2
"""A command that has ended by then has given its own word."""
_NUMBERS_AT_ONCE = 64


class Interruption:
    """What signals do to this process; a thread of its own sees to it that it ends.

    It is told of a signal by the interpreter's own handler, which runs even while the main thread
    is in a call that returns to Python much later.
    """

    current: "Interruption | None" = None

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._reader, self._writer = os.pipe()
        self._grace_seconds = 0.0
        self._numbers = frozenset(SIGNALS)
        self._says_a_word = True
        self._num_received = 0
        self._has_begun = False
        self._deadline: float | None = None
        self._code: int | None = None

    def __enter__(self) -> Self:
        """Take the signals that are not ignored, as they are under nohup."""
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._interrupt)
        threading.Thread(target=self._watch, name="interruption", daemon=True).start()
        Interruption.current = self
        # Only the interpreter ends itself then, and would give them back their deadly meaning.
        atexit.register(_ignore_signals)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Let what is left end by itself, for a moment if it was interrupted."""
        self._has_begun = True
        self._code = INTERRUPTED
        if isinstance(error, SystemExit):
            self._code = error.code if isinstance(error.code, int) else int(error.code is not None)
        os.write(self._writer, b"\0")

    def begin(self) -> bool:
        """Say whether this is the first signal; those after it interrupt nothing any more."""
        is_first, self._has_begun = not self._has_begun, True
        return is_first

    @contextmanager
    def handed_over(
        self, numbers: Iterable[signal.Signals], *, grace_seconds: float, says_a_word: bool
    ) -> Iterator[None]:
        """Leave the answer to some signals to a loop that ends in order within the context.

        Args:
            numbers: Signals that end the command; others mean something else meanwhile.
            grace_seconds: How long it may take to finish what is in flight.
            says_a_word: Whether people are still to be told that it is about to end.
        """
        before = self._grace_seconds, self._numbers, self._says_a_word
        self._grace_seconds = grace_seconds
        self._numbers = frozenset(numbers)
        self._says_a_word = says_a_word
        try:
            yield
        finally:
            self._grace_seconds, self._numbers, self._says_a_word = before

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self.begin():
            raise KeyboardInterrupt

    def _watch(self) -> None:
        while True:
            timeout = None if self._deadline is None else self._deadline - time.monotonic()
            if timeout is not None and timeout <= 0:
                self._end_now()
            ready, _, _ = select.select([self._reader], [], [], timeout)
            if ready:
                self._take(os.read(self._reader, _NUMBERS_AT_ONCE))

    def _take(self, numbers: bytes) -> None:
        num_before = self._num_received
        self._num_received += sum(number in self._numbers for number in numbers)
        if self._code is not None:
            if self._num_received:
                self._end_within(_LAST_SECONDS)
            return
        if self._num_received == num_before:
            return
        if self._num_received > 1:
            self._end_within(_END_AT_ONCE_SECONDS)
            return
        grace_seconds = self._grace_seconds
        self._end_within(grace_seconds + _END_SECONDS)
        select.select([self._reader], [], [], _WORD_SECONDS)
        if self._says_a_word and self._code is None and not self._invocation.is_told:
            self._say_that_it_ends(grace_seconds)

    def _end_within(self, seconds: float) -> None:
        latest = time.monotonic() + seconds
        self._deadline = latest if self._deadline is None else min(self._deadline, latest)

    def _say_that_it_ends(self, grace_seconds: float) -> None:
        what = "ends"
        if grace_seconds:
            what = f"ends when what is in flight is finished, within {grace_seconds:.0f} s"
        text = f"interrupted: {what}; one more signal ends it at once"
        # What stands on a terminal may be a bar, and the ^C behind it.
        line_break = "\n" if sys.stderr is not None and sys.stderr.isatty() else ""
        _write(line_break + notice_text(text, self._invocation))

    def _end_now(self) -> None:
        """End without a look at other threads: one of them may wait for ever, with any lock."""
        if self._code is None and not self._invocation.is_told:
            _write(failure_text(KeyboardInterrupt(), self._invocation))
        os._exit(INTERRUPTED if self._code is None else self._code)


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _write(text: str) -> None:
    """Write to standard error if it takes anything: a full pipe must not hold up the end."""
    poll = select.poll()
    try:
        poll.register(2, select.POLLOUT)
        if any(events & select.POLLOUT for _, events in poll.poll(0)):
            os.write(2, f"{text}\n".encode(errors="replace"))
    except OSError:
        pass
