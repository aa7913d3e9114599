"""Points in time as people read them."""

from datetime import datetime


def in_words(moment: datetime) -> str:
    """Write a moment to the second in this host's zone, with its distance from UTC.

    Such as `2026-01-02 03:04:05+01:00`: zones' names are ambiguous, and two hosts' lines compare.
    """
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")
