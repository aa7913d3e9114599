"""Who killed the server: requests sent alone after a death, and what they are found guilty of."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from embed_index.schemas.records import TokenIds

_STRIKES_TO_CONVICT = 2
"""A server may be killed from outside just while an innocent input is alone with it."""

_ANSWERS_TO_FORGIVE = 1_000
"""Requests in a row, after which deaths are no row any more."""


class Turnstile:
    """Lets many requests pass together, or one alone; who waits to be alone goes first."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._num_together = 0
        self._num_waiting = 0
        self._is_taken = False

    @asynccontextmanager
    async def pass_through(self, *, alone: bool) -> AsyncIterator[None]:
        """Wait for one's turn and hold it within the context."""
        if alone:
            await self._take()
        else:
            await self._join()
        try:
            yield
        finally:
            if alone:
                self._is_taken = False
            else:
                self._num_together -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _join(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_taken and not self._num_waiting)
            self._num_together += 1

    async def _take(self) -> None:
        self._num_waiting += 1
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._is_taken and not self._num_together)
                self._is_taken = True
        finally:
            self._num_waiting -= 1
            async with self._changed:
                self._changed.notify_all()


class Suspects:
    """Inputs that were in a request on its own when a server died, known by their content.

    Shared by all servers of a run, so that what killed one is not tried among others on the next.
    """

    def __init__(self) -> None:
        self._strikes: dict[bytes, int] = {}
        self.num_unexplained = 0
        """Deaths since an input was last found guilty of one, or since many were embedded."""
        self._num_answers = 0

    def include(self, inputs: Sequence[TokenIds]) -> bool:
        """Tell whether a request must be sent alone."""
        return bool(self._strikes) and any(_digest(ids) in self._strikes for ids in inputs)

    def convict(self, inputs: Sequence[TokenIds]) -> bool:
        """Tell whether one of the inputs has killed servers all by itself, twice."""
        is_guilty = bool(self._strikes) and any(
            self._strikes.get(_digest(ids), 0) >= _STRIKES_TO_CONVICT for ids in inputs
        )
        if is_guilty:
            self.num_unexplained = 0
        return is_guilty

    def note_death(self) -> None:
        """Count the death of a server, whatever it comes from."""
        self.num_unexplained += 1
        self._num_answers = 0

    def strike(self, inputs: Sequence[TokenIds]) -> None:
        """Count a death of which one of the inputs is the cause, or chance."""
        by_itself = len(inputs) == 1
        for digest in map(_digest, inputs):
            self._strikes[digest] = self._strikes.get(digest, 0) + by_itself

    def clear(self, inputs: Sequence[TokenIds]) -> None:
        """Forget what was held against inputs that are embedded now."""
        self._num_answers += 1
        if self._num_answers >= _ANSWERS_TO_FORGIVE:
            self.num_unexplained = 0
        if self._strikes:
            for ids in inputs:
                self._strikes.pop(_digest(ids), None)


def _digest(ids: TokenIds) -> bytes:
    return hashlib.blake2b(ids.tobytes(), digest_size=16).digest()
