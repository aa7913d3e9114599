"""A process group as the kernel sees it: who is left in it, and its certain end (Linux)."""

import contextlib
import os
import signal
import time
from pathlib import Path

_DEAD_STATES = frozenset("ZX")
_POLL_SECONDS = 0.02


def living_members(group: int) -> list[int]:
    """Return the ids of the group's processes that still run; zombies have ended."""
    processes = (path for path in Path("/proc").iterdir() if path.name.isdigit())
    return [int(path.name) for path in processes if _belongs(path, group=group)]


def kill_group(group: int) -> None:
    """Send SIGKILL to every process of the group; an empty group is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def wait_until_empty(group: int, *, timeout_seconds: float) -> bool:
    """Block until nothing of the group runs; return False where that took too long."""
    deadline = time.monotonic() + timeout_seconds
    while living_members(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _belongs(process: Path, *, group: int) -> bool:
    try:
        stat = (process / "stat").read_bytes()
    except OSError:
        return False
    # The second field is the name in parentheses, which may itself hold spaces and parentheses.
    state, _parent, process_group = stat.rpartition(b")")[2].split()[:3]
    return int(process_group) == group and state.decode() not in _DEAD_STATES
