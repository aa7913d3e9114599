"""Turns an exception into a message for people and an exit code for programs."""

import errno
import json
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

import click

from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.schemas.errors import (
    ConfigurationError,
    DeadLetterLimitError,
    DriftError,
    EmbedIndexError,
    LockHeldError,
    QualityError,
    UnavailableError,
)

BUG = 1
INTERRUPTED = 130
_CONFIGURATION = 2
_UNAVAILABLE = 4
CLOSED_PIPE = 141
"""What a shell reports for a command that a closed pipe ended: 128 and SIGPIPE."""

_EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (ConfigurationError, _CONFIGURATION),
    (DeadLetterLimitError, 3),
    (UnavailableError, _UNAVAILABLE),
    (LockHeldError, 5),
    (DriftError, 6),
    (QualityError, 7),
    (KeyboardInterrupt, INTERRUPTED),
    (click.Abort, INTERRUPTED),
)


@dataclass(slots=True, kw_only=True)
class Invocation:
    """How this invocation wants to hear of its failure."""

    debug: bool = False
    log_json: bool = False
    collection: str = ""
    """What a run is for, so that the first line of a mail says so; empty where nobody asks."""
    resumes: bool = False
    """Whether the same command goes on where this one was interrupted."""
    is_told: bool = False
    """Whether people were told by now how it failed."""


def first_cause(error: BaseException) -> BaseException:
    """Return the failure that a task group reports first, out of groups within groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def exit_code(error: BaseException) -> int:
    """Return the exit code of a failure; what nobody foresaw is a bug."""
    cause = first_cause(error)
    if _is_full_disk(cause):
        return _UNAVAILABLE
    if _is_forbidden_file(cause):
        return _CONFIGURATION
    return next((code for type_, code in _EXIT_CODES if isinstance(cause, type_)), BUG)


def _is_full_disk(cause: BaseException) -> bool:
    """Say whether a disk is full that is none of the pipeline's, such as the log's."""
    return isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}


def _is_forbidden_file(cause: BaseException) -> bool:
    """Say whether it is a file that another user may look at, and not this one."""
    return isinstance(cause, PermissionError) and cause.filename is not None


def report(error: BaseException, invocation: Invocation) -> int:
    """Write a failure to standard error, without secrets, and return its exit code.

    A bug shows its traceback unasked: a nightly run cannot be asked to fail again.
    """
    cause = first_cause(error)
    if isinstance(cause, SystemExit):
        raise cause
    if isinstance(cause, BrokenPipeError) and _drop_closed_outputs():
        return CLOSED_PIPE
    invocation.is_told = True
    # That nobody can read why does not change how it ended.
    with suppress(OSError):
        click.echo(_coloured(failure_text(error, invocation)), err=True)
    _drop_full_outputs()
    return exit_code(cause)


def failure_text(error: BaseException, invocation: Invocation) -> str:
    """Return what standard error is to say of a failure, without secrets."""
    cause = first_cause(error)
    code = exit_code(cause)
    message, remedy = _explain(cause, code, invocation)
    is_bug = code == BUG and not isinstance(cause, EmbedIndexError)
    trace = "".join(traceback.format_exception(error)) if is_bug or invocation.debug else ""
    if invocation.log_json:
        text = _json_line(cause, invocation, message=message, remedy=remedy, code=code, trace=trace)
    else:
        # A mail's reader sees the first line, and perhaps no other.
        notes = [
            note for one in dict.fromkeys((error, cause)) for note in getattr(one, "__notes__", ())
        ]
        about = f"{invocation.collection}: " if invocation.collection else ""
        parts = (f"error: {about}{message}", remedy, *notes, trace.rstrip())
        text = "\n".join(part for part in parts if part)
    return REDACTOR.scrub(text)


def notice_text(message: str, invocation: Invocation) -> str:
    """Return what standard error is to say meanwhile."""
    if not invocation.log_json:
        return f"{invocation.collection}: {message}" if invocation.collection else message
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "event": "notice", "message": message})


def _coloured(text: str) -> str:
    """Let the line to read stand out; `click.echo` takes it out again where no terminal is."""
    head, error, rest = text.partition("error:")
    return text if head or not error else click.style(error, fg="red", bold=True) + rest


@contextmanager
def ignoring_signals() -> Iterator[None]:
    """Let nothing cut off the last words of a command.

    Only the main thread receives signals; elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explain(cause: BaseException, code: int, invocation: Invocation) -> tuple[str, str]:
    if isinstance(cause, EmbedIndexError):
        return cause.message, cause.remedy
    if isinstance(cause, OSError) and _is_full_disk(cause):
        place = cause.filename or "a file that the command writes"
        return f"{place}: {os.strerror(cause.errno or 0)}", "Make room, then run again to resume."
    if isinstance(cause, PermissionError) and _is_forbidden_file(cause):
        return (
            f"{cause.filename}: {cause.strerror}",
            "Run it as the user that the job runs as, and let that one in there.",
        )
    if code == INTERRUPTED:
        goes_on = "; it goes on where it stopped." if invocation.resumes else " to have it done."
        return "interrupted", f"Give the same command again{goes_on}"
    return (
        f"{type(cause).__name__}: {cause}",
        "This is a bug in embed-index; please report it together with the lines below.",
    )


def _json_line(
    cause: BaseException,
    invocation: Invocation,
    *,
    message: str,
    remedy: str,
    code: int,
    trace: str,
) -> str:
    event: dict[str, object] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": "error",
        "error": type(cause).__name__,
        "collection": invocation.collection or None,
        "message": message,
        "remedy": remedy,
        "exit_code": code,
    }
    if notes := getattr(cause, "__notes__", ()):
        event["notes"] = list(notes)
    return json.dumps(event | ({"traceback": trace} if trace else {}), ensure_ascii=False)


def _drop_closed_outputs() -> bool:
    """Point standard streams whose reader has gone to nowhere; say whether there were any.

    Otherwise the interpreter would complain once more when it flushes them at its end.
    """
    closed = [_drop_if_closed(stream) for stream in (sys.stdout, sys.stderr)]
    return any(closed)


def _drop_if_closed(stream: TextIO) -> bool:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return False
    # A second write would not tell: what the first one failed to write may be forgotten by now.
    poll = select.poll()
    poll.register(descriptor, 0)
    if not any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
        return False
    _drop(descriptor)
    return True


def _drop_full_outputs() -> None:
    """Point standard streams that take nothing more to nowhere, what they still hold included.

    Otherwise the interpreter would try once more at its end, fail, and choose an exit code itself.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _drop(stream.fileno())


def _drop(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
