"""What an examination of a host found, one record a check."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCheck:
    """One thing that was looked at, and what to do about it; never with a secret in it."""

    subject: str
    """Such as `GPU` or `key file`."""
    outcome: Outcome
    found: str
    remedy: str = ""
    """Empty only where all is well."""
    may_pass: bool = False
    """Whether a problem is a system outside that is away at present."""
