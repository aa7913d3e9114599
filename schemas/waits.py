"""What a command waits for, said once it takes long: a place that does not answer is not silent."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_QUIET_SECONDS = 4.0
_AGAIN_SECONDS = 300.0
"""Requests wait side by side, and one after the other, for the same place."""


class Waits:
    """The waits of this process for places outside of it; any thread or task may wait."""

    def __init__(self) -> None:
        self._tell: Callable[[str], None] | None = None
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def telling(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Have waits told within the context; a program that uses the library hears nothing.

        Args:
            tell: Called with a sentence for people, in a thread of its own.
        """
        before, self._tell = self._tell, tell
        self._told.clear()
        try:
            yield
        finally:
            self._tell = before

    @contextmanager
    def waiting_for(self, place: str, *, seconds: float | None = None) -> Iterator[None]:
        """Say what is waited for, if that takes longer than a few seconds.

        Args:
            place: Such as `Milvus at http://127.0.0.1:19530`.
            seconds: After which whoever waits gives up, at the latest; None where that depends.
        """
        if self._tell is None:
            yield
            return
        timer = threading.Timer(_QUIET_SECONDS, self._say, (place, seconds))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _say(self, place: str, seconds: float | None) -> None:
        now = time.monotonic()
        with self._lock:
            is_told = now - self._told.get(place, -_AGAIN_SECONDS) < _AGAIN_SECONDS
            if not is_told:
                self._told[place] = now
        tell = self._tell
        if tell is not None and not is_told:
            limit = "" if seconds is None else f" or {seconds:.0f} s have gone by"
            tell(f"waiting for {place}, until it answers{limit}")


WAITS = Waits()
"""Those of this process: whoever waits cannot know who listens."""
