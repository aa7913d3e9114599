"""What a failed Milvus call means, and how long it is tried again.

pymilvus raises in two hierarchies, `MilvusException` and `grpc.RpcError`, gives up within a
second when a server restarts, and hides the cause of a failed connection in `__cause__`.
Codes are those of Milvus' `merr` package.
"""

import enum
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from embed_index.pipeline.milvus.sdk import MilvusException
from embed_index.pipeline.secrecy.redaction import mask
from embed_index.schemas.errors import ConfigurationError, EmbedIndexError, StoreError, shortened

T = TypeVar("T")

NOT_LOADED = 101
COLLECTION_NOT_FOUND = 100
ALIAS_NOT_FOUND = 1600
INVALID_PARAMETER = 1100
EMBEDDED_WRITE_FAILED = 1_000_001
"""Not one of Milvus' codes: `milvus_lite_writes` answers with it."""

_UNEXPECTED = 65_535
_CLIENT_OR_NOT_READY = 1
_UNAVAILABLE = 2
_RATE_LIMIT, _QUOTA = 8, 9
_DATABASE_NOT_FOUND = 800
_RETRIABLE = frozenset(
    {
        _UNAVAILABLE,
        4,  # too many requests at once
        _RATE_LIMIT,
        _QUOTA,
        103,  # collection not fully loaded
        203,  # partition not fully loaded
        *(400, 401, 402),  # replica
        *(500, 501, 502, 503),  # channel
        *(901, 902, 903, 904, 905, 906, 907),  # node
        10_001,  # timed out inside the server
    }
)
_RETRIABLE_STATUS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
    }
)
_MESSAGE_LENGTH = 300


class Verdict(enum.Enum):
    """What to do after a failed call."""

    RETRY = enum.auto()
    RECONNECT = enum.auto()
    """Nothing came back in time: the connection itself may be dead."""
    DOUBT = enum.auto()
    """Milvus' code for anything unexpected, from a node that moves to a wrong expression."""
    LOAD = enum.auto()
    """The collection is not in memory, as after a restart."""
    SPLIT = enum.auto()
    """The message is too large."""
    FATAL = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutagePolicy:
    """How patient the store is."""

    retry_seconds: float = 120.0
    """Outage that is ridden out, counted from a call's first failure."""
    doubt_seconds: float = 20.0
    """The same for errors that Milvus calls unexpected, of which some pass."""
    first_delay_seconds: float = 0.1
    max_delay_seconds: float = 5.0

    def delay_seconds(self, failures: int) -> float:
        """Return the pause after so many failures: doubled each time, capped, with jitter."""
        grown: float = self.first_delay_seconds * 2.0 ** min(failures - 1, 30)
        return min(grown, self.max_delay_seconds) * secrets.SystemRandom().uniform(0.5, 1.0)


class RequestTooLargeError(Exception):
    """The server does not take, or cannot answer, a request of this size."""


def judge(error: Exception, *, embedded: bool) -> Verdict:
    """Say what to do about an error of either hierarchy.

    Args:
        error: As pymilvus raised it.
        embedded: Whether the server is Milvus Lite in our own process, which is never "not ready".
    """
    status = rpc_status(error)
    if status is not None:
        return _judge_status(status)
    if not isinstance(error, MilvusException):
        return Verdict.FATAL
    # Subclasses with code 1 are pymilvus' own refusals of what it was given.
    not_ready = error.code == _CLIENT_OR_NOT_READY and type(error) is MilvusException
    if error.retriable or (not_ready and not embedded):
        return Verdict.RETRY
    return _judge_code(error.code)


def _judge_status(status: grpc.StatusCode) -> Verdict:
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Verdict.SPLIT
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Verdict.RECONNECT
    return Verdict.RETRY if status in _RETRIABLE_STATUS else Verdict.FATAL


def _judge_code(code: int) -> Verdict:
    if code == NOT_LOADED:
        return Verdict.LOAD
    if code == _UNEXPECTED:
        return Verdict.DOUBT
    return Verdict.RETRY if code in _RETRIABLE else Verdict.FATAL


def rpc_status(error: BaseException) -> grpc.StatusCode | None:
    """Return the gRPC status behind an error, None where the server itself answered."""
    cause: BaseException | None = error
    for _ in range(8):  # pymilvus raises errors from themselves
        if isinstance(cause, grpc.RpcError) and hasattr(cause, "code"):
            return cause.code()
        if isinstance(cause, MilvusException) and isinstance(cause.code, grpc.StatusCode):
            return cause.code
        if cause is None or cause.__cause__ is cause:
            return None
        cause = cause.__cause__
    return None


def explain(error: Exception, *, subject: str, secret: str) -> EmbedIndexError:
    """Return the error that the user reads.

    Args:
        error: As pymilvus raised it.
        subject: What was tried and where, such as `upsert into 'docs_v1' at http://host:19530`.
        secret: The token; neither it nor its password part shows, whoever quotes it.
    """
    status = rpc_status(error)
    if status is grpc.StatusCode.UNAUTHENTICATED:
        return StoreError(
            f"{subject}: Milvus does not accept the token",
            remedy="Set MILVUS_TOKEN to `user:password` or to an API key that is valid there.",
        )
    if status is grpc.StatusCode.PERMISSION_DENIED:
        return StoreError(
            f"{subject}: Milvus' user may not do this",
            remedy="Grant the user of MILVUS_TOKEN the privilege, or use another.",
        )
    code = error.code if isinstance(error, MilvusException) else None
    if code == EMBEDDED_WRITE_FAILED:
        return StoreError(
            f"{subject}: Milvus Lite cannot write ({error})",
            remedy="Check the disk's free space and health, then run again to resume.",
        )
    if status is not None or code == _UNAVAILABLE:
        name = "UNAVAILABLE" if status is None else status.name
        return StoreError(
            f"{subject}: Milvus does not answer ({name})",
            remedy="See whether the server runs; the same command continues where this one ended.",
        )
    if code == COLLECTION_NOT_FOUND:
        return ConfigurationError(
            f"{subject}: there is no such collection", remedy="Check the name and MILVUS_DB."
        )
    if code == _DATABASE_NOT_FOUND:
        return ConfigurationError(f"{subject}: there is no such database", remedy="Set MILVUS_DB.")
    if code in (_RATE_LIMIT, _QUOTA):
        return StoreError(
            f"{subject}: Milvus limits the rate or is out of memory or disk (code {code})",
            remedy="Raise the server's quota, or run again later; the run can be resumed.",
        )
    words = own_words(error, secret=secret)
    return StoreError(
        f"{subject}: Milvus refuses (code {code}): {words}",
        remedy="The server's log says more; the run can be resumed.",
    )


def own_words(error: BaseException, *, secret: str, max_chars: int = _MESSAGE_LENGTH) -> str:
    """Return what Milvus itself said, without the token."""
    # What pymilvus itself refuses it quotes, and that may be a document's text.
    code = getattr(error, "code", None)
    by_client = code == _CLIENT_OR_NOT_READY and type(error) is not MilvusException
    detail = type(error).__name__ if by_client else getattr(error, "message", "")
    # A token may be `user:password`; the password alone is a secret, too.
    words = mask(str(detail), secret, secret.partition(":")[2])
    return shortened(words, max_chars=max_chars)


def is_refusal(error: BaseException | None) -> bool:
    """Tell whether Milvus answered that it will not, rather than not at all."""
    return isinstance(error, MilvusException) and rpc_status(error) is None


def explain_too_large(doing: str) -> StoreError:
    """Return the error for a request that holds one row and still is too large."""
    return StoreError(
        f"{doing}: a single row is larger than Milvus' message limit",
        remedy="Raise the server's `grpc.serverMaxRecvSize` and `serverMaxSendSize`.",
    )


class Outage:
    """The failures of one call so far: decides whether it is tried again."""

    def __init__(self, policy: OutagePolicy, *, stopped: threading.Event) -> None:
        self._policy = policy
        self._stopped = stopped
        self._first_failure: float | None = None
        self._failures = 0

    def wait(self, verdict: Verdict) -> bool:
        """Pause before the next try; False when it is time to give up."""
        now = time.monotonic()
        if self._first_failure is None:
            self._first_failure = now
        self._failures += 1
        policy = self._policy
        budget = policy.doubt_seconds if verdict is Verdict.DOUBT else policy.retry_seconds
        left = self._first_failure + budget - now
        if left <= 0:
            return False
        return not self._stopped.wait(min(policy.delay_seconds(self._failures), left))


def call_patiently(
    action: Callable[[], T],
    *,
    policy: OutagePolicy,
    stopped: threading.Event,
    judge_error: Callable[[Exception], Verdict],
    explain_error: Callable[[Exception], EmbedIndexError],
    prepare: Callable[[Verdict], None] = lambda _: None,
) -> T:
    """Run an idempotent call until it succeeds, fails for good or the outage lasts too long.

    Args:
        action: One attempt; must carry its own deadline.
        policy: How long and how often.
        stopped: Ends all waiting when set.
        judge_error: Says what to do about a failure.
        explain_error: Makes the error that the user reads.
        prepare: Run before each further attempt with the verdict that led to it; may fail alike.

    Raises:
        RequestTooLargeError: The request must be split.
        EmbedIndexError: What `explain_error` made of the last failure.
    """
    outage = Outage(policy, stopped=stopped)
    verdict: Verdict | None = None
    while True:
        try:
            if verdict is not None:
                prepare(verdict)
            return action()
        except (MilvusException, grpc.RpcError) as error:
            verdict = judge_error(error)
            if verdict is Verdict.SPLIT:
                raise RequestTooLargeError from error
            if verdict is Verdict.FATAL or not outage.wait(verdict):
                raise explain_error(error) from error
