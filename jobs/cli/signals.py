"""SIGINT and SIGTERM: the first lets what is in flight finish, the second cuts it off."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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

    def handle() -> None:
        nonlocal num_received
        num_received += 1
        if stop() and num_received == 1:
            loop.call_later(grace_seconds, task.cancel)
        else:
            task.cancel()

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in before:
        loop.add_signal_handler(number, handle)
    try:
        yield
    except asyncio.CancelledError as cancelled:
        if not num_received:
            raise
        interrupt = KeyboardInterrupt()
        for note in getattr(cancelled, "__notes__", ()):
            interrupt.add_note(note)
        raise interrupt from None
    finally:
        for number, handler in before.items():
            # The loop would leave SIGTERM to kill the process.
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def has_terminal() -> bool:
    """Tell whether this process still has one; closing its window takes it away."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
