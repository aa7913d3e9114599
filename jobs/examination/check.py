"""One check of a host: made whatever comes of it, and written for people and for programs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TypeAlias

import click

from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.schemas.errors import ConfigurationError, EmbedIndexError, UnavailableError
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


_OUTCOME_WIDTH = len("problem")
_SUBJECT_WIDTH = len("Milvus folder")
_COLOURS: Mapping[str, str] = {"ok": "green", "warning": "yellow", "problem": "red"}


def checks_as_text(checks: Sequence[HostCheck]) -> str:
    """Return a line a check that says what was found, and below it what to do."""
    return REDACTOR.scrub("\n".join(map(_as_text, checks)))


def checks_as_json(checks: Sequence[HostCheck]) -> str:
    """Return a JSON list in the order of the checks."""
    return REDACTOR.scrub(json.dumps([asdict(c) for c in checks], ensure_ascii=False, indent=2))


def failure_of(checks: Sequence[HostCheck]) -> EmbedIndexError | None:
    """Return what the command ends with; None where there is no problem.

    Problems that may pass by themselves, and no others, are an outage rather than a mistake.
    """
    problems = [check for check in checks if check.outcome == "problem"]
    if not problems:
        return None
    subjects = ", ".join(dict.fromkeys(check.subject for check in problems))
    number = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    kind = UnavailableError if all(check.may_pass for check in problems) else ConfigurationError
    return kind(f"{number} on this host: {subjects}", remedy="What to do stands beside each.")


def _as_text(check: HostCheck) -> str:
    outcome = f"{check.outcome:<{_OUTCOME_WIDTH}}"
    subject = f"  {check.subject:<{_SUBJECT_WIDTH}}  "
    lines = [line for text in (check.found, check.remedy) for line in text.splitlines()]
    below = "\n" + " " * len(outcome + subject)
    return click.style(outcome, fg=_COLOURS[check.outcome]) + subject + below.join(lines)
