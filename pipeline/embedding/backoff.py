"""How often and when a failed request is sent again. No I/O, no clock."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Capped exponential backoff; the caller draws the actual delay below the ceiling."""

    max_attempts: int = 10
    """Of those that a server answers, if only with a failure; until one answers, time counts."""
    first_ceiling_seconds: float = 0.5
    max_ceiling_seconds: float = 30.0
    deadline_seconds: float = 300.0
    """From a request's first failure."""

    def ceiling_seconds(self, num_failures: int) -> float:
        """Return the longest delay after so many failures, counted from 1."""
        doublings = min(num_failures - 1, 32)
        return min(self.max_ceiling_seconds, self.first_ceiling_seconds * 2.0**doublings)

    def gives_up(self, num_answered: int, *, seconds_failing: float, delay_seconds: float) -> bool:
        """Tell whether no further attempt fits after waiting `delay_seconds`."""
        too_late = seconds_failing + delay_seconds > self.deadline_seconds
        return num_answered >= self.max_attempts or too_late


def retry_after_seconds(value: str, *, now: datetime) -> float:
    """Return the wait that a `Retry-After` header asks for, in seconds or until a date.

    Args:
        value: The header; 0 is returned for one that is empty or not understood.
        now: The present time, with its time zone.
    """
    if value.isdecimal():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())
