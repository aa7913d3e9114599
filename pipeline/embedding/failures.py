"""Requests that fail: how long they are sent again, and what is said of a server meanwhile."""

import random
import time
from collections.abc import Awaitable, Callable

from embed_index.pipeline.embedding.backoff import Backoff
from embed_index.schemas.errors import ServerError

_TELL_SECONDS = 5.0
"""Passing trouble is not worth a word."""


class TransientError(Exception):
    """The request may succeed when it is sent again."""

    def __init__(
        self,
        reason: str,
        *,
        dropped: bool = False,
        answered: bool = False,
        wait_seconds: float = 0.0,
    ) -> None:
        super().__init__(reason)
        self.dropped = dropped
        self.answered = answered
        """The server was there, with room, and failed."""
        self.wait_seconds = wait_seconds


class Outage:
    """Says once of all requests that a server fails them, and that it does no longer."""

    def __init__(self, url: str, *, deadline_seconds: float, tell: Callable[[str], None]) -> None:
        """Begin with a server that answers.

        Args:
            url: The server's.
            deadline_seconds: How long a request may fail.
            tell: Called with a sentence for people.
        """
        self._url = url
        self._deadline_seconds = deadline_seconds
        self._tell = tell
        self._is_told = False

    def see(self, failure: TransientError, *, seconds_failing: float) -> None:
        """Take note of a request that failed again."""
        if not self._is_told and seconds_failing >= _TELL_SECONDS:
            self._is_told = True
            self._tell(
                f"the embedding server at {self._url} has failed for {seconds_failing:.0f} s"
                f" ({failure}); it is asked again until that has been"
                f" {self._deadline_seconds:.0f} s"
            )

    def end(self) -> None:
        """Take note of an answer."""
        if self._is_told:
            self._is_told = False
            self._tell(f"the embedding server at {self._url} answers again")


class Failures:
    """The failures of one request: waits before the next attempt, or gives up."""

    def __init__(
        self,
        url: str,
        *,
        policy: Backoff,
        sleep: Callable[[float], Awaitable[None]],
        outage: Outage,
    ) -> None:
        """Begin with a request that has not failed.

        Args:
            url: Where it is sent.
            policy: When to give up.
            sleep: Waits between attempts.
            outage: What is said of the server.
        """
        self._outage = outage
        self._url = url
        self._policy = policy
        self._sleep = sleep
        self._count = 0
        self._num_answered = 0
        self._began = 0.0

    async def wait(self, failure: TransientError) -> None:
        """Wait as the policy says.

        Raises:
            ServerError: It gives up.
        """
        self._count += 1
        self._num_answered += failure.answered
        now = time.monotonic()
        if self._count == 1:
            self._began = now
            if failure.dropped:
                # Most likely an idle connection that the server closed: a fresh one will do.
                return
        ceiling = self._policy.ceiling_seconds(self._count)
        delay = max(failure.wait_seconds, random.uniform(0.0, ceiling))  # noqa: S311
        failing = now - self._began
        self._outage.see(failure, seconds_failing=failing)
        if self._policy.gives_up(self._num_answered, seconds_failing=failing, delay_seconds=delay):
            raise ServerError(
                f"The embedding server at {self._url} failed {self._count} times "
                f"in {failing:.0f} s; last: {failure}.",
                remedy="Check the server and its log, then run again: nothing done is lost.",
            ) from failure
        await self._sleep(delay)
