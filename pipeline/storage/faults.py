"""What a failed request to a store means: whether it passes, and what the user reads.

pyarrow gives an error number for a file that is not there, and words for all else. Its S3 file
system always puts the SDK's own name for the error into them (`AWS Error ACCESS_DENIED during
HeadObject operation`), or the HTTP status where the SDK has no name for it.
"""

import enum
import re
from dataclasses import dataclass

import pyarrow as pa

from embed_index.schemas.errors import (
    ConfigurationError,
    EmbedIndexError,
    UnavailableError,
    shortened,
)

FAILURES = (OSError, pa.ArrowException)
"""What pyarrow's file systems raise; a `TimeoutError` of ours is among them."""

_UNUSABLE = (
    pa.ArrowInvalid,
    pa.ArrowNotImplementedError,
    NotADirectoryError,
    IsADirectoryError,
)
_AWS = re.compile(r"AWS Error (?P<name>[A-Z0-9_]+)(?: \(HTTP status (?P<status>\d+)\))?")
_STATUS = re.compile(r"\bHTTP status(?: code)?:? (\d{3})\b|\bstatus_code=(\d{3})\b")
_QUERY = re.compile(r"\?[^\s'\"]*")
"""Signed addresses carry their signature behind a question mark."""
_MAX_REASON_CHARS = 200
_PASSING_STATUS = frozenset({408, 416, 425, 429})
"""A range that is not there is no mistake of ours: the file may have been replaced."""
_FIRST_SERVER_STATUS = 500
_DENIED_STATUS = frozenset({401, 403})
_MOVED_STATUS = frozenset({301, 307})


class Fault(enum.Enum):
    """What went wrong, as far as it decides what to do."""

    PASSING = enum.auto()
    """No answer, or one that another attempt may not get."""
    DENIED = enum.auto()
    UNKNOWN_CREDENTIALS = enum.auto()
    NO_BUCKET = enum.auto()
    WRONG_REGION = enum.auto()
    WRONG_CLOCK = enum.auto()
    REFUSED = enum.auto()


_BY_NAME = {
    "ACCESS_DENIED": Fault.DENIED,
    "OPT_IN_REQUIRED": Fault.DENIED,
    "INVALID_ACCESS_KEY_ID": Fault.UNKNOWN_CREDENTIALS,
    "INVALID_CLIENT_TOKEN_ID": Fault.UNKNOWN_CREDENTIALS,
    "MISSING_AUTHENTICATION_TOKEN": Fault.UNKNOWN_CREDENTIALS,
    "SIGNATURE_DOES_NOT_MATCH": Fault.UNKNOWN_CREDENTIALS,
    "UNRECOGNIZED_CLIENT": Fault.UNKNOWN_CREDENTIALS,
    "NO_SUCH_BUCKET": Fault.NO_BUCKET,
    "REQUEST_EXPIRED": Fault.WRONG_CLOCK,
    "REQUEST_TIME_TOO_SKEWED": Fault.WRONG_CLOCK,
    "INVALID_SIGNATURE": Fault.UNKNOWN_CREDENTIALS,
    "VALIDATION": Fault.REFUSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What is said of a fault: `what` follows the thing's name."""

    what: str
    remedy: str
    is_outage: bool = False


_WORDS = {
    Fault.DENIED: _Words(
        what="may not be read with these credentials",
        remedy="Allow them to read objects and to list the bucket (s3:GetObject, s3:ListBucket or"
        " their like), or give others.",
    ),
    Fault.UNKNOWN_CREDENTIALS: _Words(
        what="is in a store that does not know these credentials",
        remedy="Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws, and that `endpoint`"
        " under [source] is the store that they are for.",
        # They may have expired in the midst of a run; no single file is to blame.
        is_outage=True,
    ),
    Fault.NO_BUCKET: _Words(
        what="is in no bucket that exists",
        remedy="Check the bucket's name, and `endpoint` under [source].",
    ),
    Fault.WRONG_REGION: _Words(
        what="is in a bucket of another region",
        remedy="Set `region` under [source] to the bucket's.",
    ),
    Fault.WRONG_CLOCK: _Words(
        what="cannot be read: the store finds this machine's clock wrong",
        remedy="Set the clock, best by NTP, and run again.",
        is_outage=True,
    ),
}


def judge(error: Exception) -> Fault:
    """Say what a failure means."""
    if isinstance(error, _UNUSABLE):
        return Fault.REFUSED
    if isinstance(error, PermissionError):
        return Fault.DENIED
    words = str(error)
    named = _AWS.search(words)
    if named and named["name"] in _BY_NAME:
        return _BY_NAME[named["name"]]
    status = _status_in(words)
    if status in _DENIED_STATUS or "PERMISSION_DENIED" in words:
        return Fault.DENIED
    if status in _MOVED_STATUS:
        return Fault.WRONG_REGION
    if status is None or status >= _FIRST_SERVER_STATUS or status in _PASSING_STATUS:
        return Fault.PASSING
    return Fault.REFUSED


def explain(error: Exception, *, subject: str, seconds: float = 0.0) -> EmbedIndexError:
    """Return the error that the user reads.

    Args:
        error: The last failure; a store's own words never hold a key, and are cut where they might.
        subject: The address of what was looked at.
        seconds: How long it was tried for.
    """
    fault = judge(error)
    if words := _WORDS.get(fault):
        kind = UnavailableError if words.is_outage else ConfigurationError
        return kind(f"input: {subject} {words.what}", remedy=words.remedy)
    if fault is Fault.PASSING:
        return UnavailableError(
            f"input: {subject} could not be read for {seconds:.0f} s ({_reason(error)})",
            remedy="See whether the store answers, and `endpoint` under [source]; the same command"
            " continues where this one ended.",
        )
    return UnavailableError(
        f"input: {subject} is refused by its store ({_reason(error)})",
        remedy="Check the address, and whether the credentials have expired.",
    )


def _status_in(words: str) -> int | None:
    found = _STATUS.search(words)
    return int(found[1] or found[2]) if found else None


def _reason(error: Exception) -> str:
    named = _AWS.search(str(error))
    words = named[0] if named else " ".join(str(error).split())
    return shortened(_QUERY.sub("?…", words), max_chars=_MAX_REASON_CHARS) or type(error).__name__
