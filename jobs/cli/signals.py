"""What a loop makes of signals: the first lets what is in flight finish, the second cuts it off."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, TypeVar

from embed_index.jobs.cli.interruption import SIGNALS, Interruption

T = TypeVar("T")


def run_interruptibly(work: Coroutine[Any, Any, T]) -> T:
    """Run in a loop of its own; a signal ends it where it awaits, and what it opened is closed.

    Raises:
        KeyboardInterrupt: There was a signal.
    """

    async def interruptible() -> T:
        with stopping_on_signals(lambda: False, grace_seconds=0.0):
            return await work

    return asyncio.run(interruptible())


@contextmanager
def stopping_on_signals(stop: Callable[[], bool], *, grace_seconds: float) -> Iterator[None]:
    """Turn signals into an orderly end of the current task.

    Args:
        stop: Called at the first signal; says whether there is anything to finish.
        grace_seconds: How long that may take.

    Raises:
        KeyboardInterrupt: The task was cut off; it keeps the notes of the cancellation.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    num_received = 0
    is_cut_off = False
    graces: list[asyncio.TimerHandle] = []

    def cut_off() -> None:
        nonlocal is_cut_off
        is_cut_off = True
        task.cancel()

    def take(_number: signal.Signals) -> None:
        nonlocal num_received
        num_received += 1
        if stop() and num_received == 1:
            graces.append(loop.call_later(grace_seconds, cut_off))
        else:
            cut_off()

    numbers = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    try:
        with receiving(take, numbers, grace_seconds=grace_seconds):
            yield
    except asyncio.CancelledError as cancelled:
        if not num_received:
            raise
        interrupt = KeyboardInterrupt()
        for note in getattr(cancelled, "__notes__", ()):
            interrupt.add_note(note)
        raise interrupt from None
    finally:
        for grace in graces:
            grace.cancel()
    if is_cut_off:
        # What was awaited last ended by itself, or kept the cancellation to itself.
        raise KeyboardInterrupt


@contextmanager
def receiving(
    take: Callable[[signal.Signals], None],
    numbers: Iterable[signal.Signals],
    *,
    ending: Iterable[signal.Signals] = SIGNALS,
    grace_seconds: float,
    says_a_word: bool = True,
) -> Iterator[None]:
    """Have the running loop take signals within the context.

    Only the main thread receives signals; elsewhere nothing is changed.

    Args:
        take: Called in the loop with each signal.
        numbers: Those to take.
        ending: Those that end the command; the process ends for certain some time after one.
        grace_seconds: How long what is in flight may take then.
        says_a_word: Whether people are still to be told that the command is about to end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    interruption = Interruption.current
    ends = frozenset(ending)
    received: list[signal.Signals] = []

    def take_received() -> None:
        while received:
            take(received.pop(0))

    def receive(number: int, _frame: FrameType | None) -> None:
        if interruption is not None and number in ends:
            interruption.begin()
        received.append(signal.Signals(number))
        # Not the loop's own handlers: those would take the interpreter's descriptor for signals.
        loop.call_soon_threadsafe(take_received)

    handing_over = (
        nullcontext()
        if interruption is None
        else interruption.handed_over(ends, grace_seconds=grace_seconds, says_a_word=says_a_word)
    )
    with handing_over:
        before = {number: signal.signal(number, receive) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            take_received()


def has_terminal() -> bool:
    """Tell whether this process still has one; closing its window takes it away."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
