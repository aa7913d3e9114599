"""An event loop on a thread of its own, so that blocking and asynchronous callers share it."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from embed_index.schemas.errors import UnavailableError

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for other threads until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._closed = False
        self._lock = threading.Lock()
        # A daemon, because a program may end without closing what it opened.
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="embed-index-queries", daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, and return or raise what it does.

        Raises:
            UnavailableError: The loop was closed, before or meanwhile.
        """
        with self._lock:
            if self._closed:
                work.close()
                raise _closed()
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise _closed() from None
        finally:
            # Whoever is interrupted waits no longer, and neither shall the work go on.
            future.cancel()

    def close(self) -> None:
        """Cancel what runs, let it clean up, and end the thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _closed() -> UnavailableError:
    return UnavailableError("the collection was closed", remedy="Open it again.")
