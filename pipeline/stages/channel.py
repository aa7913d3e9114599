"""A bounded queue between two stages, with an end."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """Any number of writers and readers in one event loop; a full channel makes writers wait.

    Unlike `asyncio.Queue` (before Python 3.13) it can be closed: readers take what is left and
    then end.
    """

    def __init__(self, *, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: deque[T] = deque()
        self._closed = False
        self._changed = asyncio.Condition()

    @property
    def is_full(self) -> bool:
        """Whether writers have to wait."""
        return len(self._waiting) >= self._capacity

    async def put(self, value: T) -> None:
        """Add a value, waiting while the channel is full."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._waiting) < self._capacity)
            self._waiting.append(value)
            self._changed.notify_all()

    async def close(self) -> None:
        """Let readers end once nothing is left."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def wait_for_first(self) -> bool:
        """Wait for a value and leave it there; false where the channel ended without one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting or self._closed)
            return bool(self._waiting)

    async def take(self, *, until: Callable[[list[T]], bool]) -> list[T]:
        """Take at least one value, and more of what is waiting until `until(taken)` holds.

        Never waits for more than the first. Returns an empty list at the end.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting or self._closed)
            taken: list[T] = []
            while self._waiting and not (taken and until(taken)):
                taken.append(self._waiting.popleft())
            self._changed.notify_all()
            return taken

    async def __aiter__(self) -> AsyncIterator[T]:
        while taken := await self.take(until=lambda _: True):
            yield taken[0]
