"""What a failed file operation means to those who run jobs."""

import errno
import os

from embed_index.schemas.errors import ConfigurationError, EmbedIndexError, UnavailableError

_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


def explain_disk(error: OSError, *, subject: str, remedy: str) -> EmbedIndexError:
    """Return the error that the user reads: a full disk passes, a wrong place must be corrected.

    Args:
        error: As the file operation raised it.
        subject: What could not be done, and where.
        remedy: What to do where the place is at fault.
    """
    # pyarrow's own text repeats itself.
    why = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _PASSING:
        return UnavailableError(
            f"{subject} ({why})",
            remedy="Check the disk's free space and health, then run again to resume.",
        )
    return ConfigurationError(f"{subject} ({why})", remedy=remedy)
