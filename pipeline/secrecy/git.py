"""What git makes of a file: nothing, ignored, in danger of being committed, or tracked."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Literal, TypeAlias

GitState: TypeAlias = Literal["no work tree", "ignored", "not ignored", "tracked", "unknown"]

_SECONDS = 30.0
_FOUND, _NOT_FOUND = 0, 1
_HOOK_VARIABLES = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"})
"""Set within a hook, they would point to another work tree."""


def git_state(path: Path) -> GitState:
    """Ask git about a file that need not exist yet.

    Returns:
        `unknown` where there is a work tree that git does not read, because it belongs to
        somebody else; `no work tree` also where git is not installed.
    """
    git = shutil.which("git")
    if git is None:
        return "no work tree"
    if _ask(git, path.parent, "ls-files", "--error-unmatch", f":(literal){path.name}") == _FOUND:
        return "tracked"
    ignored = _ask(git, path.parent, "check-ignore", "--quiet", path.name)
    if ignored == _FOUND:
        return "ignored"
    if ignored == _NOT_FOUND:
        return "not ignored"
    is_marked = any((folder / ".git").exists() for folder in path.absolute().parents)
    return "unknown" if is_marked else "no work tree"


def _ask(git: str, folder: Path, *command: str) -> int:
    *options, name = command
    return subprocess.run(
        [git, "-C", str(folder), *options, "--", name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={key: value for key, value in os.environ.items() if key not in _HOOK_VARIABLES},
        timeout=_SECONDS,
        check=False,
    ).returncode
