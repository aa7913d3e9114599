"""Makes one check of a host, whatever comes of it."""

from collections.abc import Callable
from typing import TypeAlias

from embed_index.schemas.errors import EmbedIndexError, UnavailableError
from embed_index.schemas.host_check import HostCheck

Check: TypeAlias = tuple[str, Callable[[], HostCheck]]
"""A subject, and what looks at it: it returns a record, or raises what a run would raise."""


def made(check: Check) -> HostCheck:
    """Return a check's record; what it raises is a problem."""
    subject, look = check
    try:
        return look()
    except EmbedIndexError as error:
        return HostCheck(
            subject=subject,
            outcome="problem",
            found=error.message,
            remedy=error.remedy,
            may_pass=isinstance(error, UnavailableError),
        )
    except PermissionError as error:
        return HostCheck(
            subject=subject,
            outcome="problem",
            found=f"{error.filename}: {error.strerror}",
            remedy="Run this as the user that the job runs as, and let that one in there.",
        )
