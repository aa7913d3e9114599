"""Whether a place is safe for a secret: who may read or write there, and what git makes of it."""

import grp
import os
import pwd
import shlex
import stat
from pathlib import Path

from embed_index.pipeline.secrecy.git import git_state
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.host_check import HostCheck


def check_secret_file(file: Path, *, subject: str) -> HostCheck:
    """See who may read a file, and whether git keeps copies of it; its content is not read.

    Raises:
        ConfigurationError: It is missing or empty, no file, open to others, or tracked.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error.strerror}", remedy="Check the path and its owner."
        ) from None
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        raise ConfigurationError(
            f"{file} is {'empty' if stat.S_ISREG(status.st_mode) else 'no regular file'}",
            remedy="Name the file that holds the secret.",
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            f"{file} is open to others (mode {mode:04o})",
            remedy=f"Run: chmod 600 {file}. If others have read it, draw new secrets.",
        )
    if git_state(file) == "tracked":
        raise ConfigurationError(
            f"{file} is tracked by git, which keeps every version of it",
            remedy=f"Run: git rm --cached {file}, name it in .gitignore, and draw new secrets.",
        )
    return HostCheck(subject=subject, outcome="ok", found=f"{file}, mode {mode:04o}")


def refuse_unsafe_place(path: Path) -> None:
    """Refuse a place from which a key gets out sooner or later.

    Raises:
        ConfigurationError: Others may write to the folder, or git tracks the file or would take
            it with the next `git add`.
    """
    _refuse_shared_folder(path.parent)
    _refuse_git(path)


def _refuse_shared_folder(folder: Path) -> None:
    try:
        status = folder.stat()
    except OSError as error:
        raise ConfigurationError(
            f"folder {folder} cannot be used: {error.strerror}",
            remedy="Make it first, with mode 0700, or name another.",
        ) from None
    # A key file there could be replaced by somebody else's, whatever its own mode.
    by_group = status.st_mode & stat.S_IWGRP and _has_others(status.st_gid)
    if status.st_mode & stat.S_IWOTH or by_group:
        raise ConfigurationError(
            f"folder {folder} is writable by others (mode {stat.S_IMODE(status.st_mode):04o})",
            remedy=f"Run: chmod go-w {shlex.quote(str(folder))}, or put the key elsewhere.",
        )


def _has_others(group: int) -> bool:
    """Tell whether a group has members besides us; many systems give everybody one of their own."""
    try:
        members = set(grp.getgrgid(group).gr_mem)
        own = pwd.getpwuid(os.geteuid())
    except KeyError:
        return True
    return group != own.pw_gid or bool(members - {own.pw_name})


def _refuse_git(path: Path) -> None:
    state = git_state(path)
    if state == "tracked":
        raise ConfigurationError(
            f"{path} is tracked by git, so everybody with the repository would have the key",
            remedy=f"Run: git rm --cached {shlex.quote(path.name)}, and name it in .gitignore. "
            "Keys that were committed stay in the history: draw new ones.",
        )
    if state == "not ignored":
        raise ConfigurationError(
            f"{path} is in a git work tree and not ignored, so `git add` would take the key",
            remedy=f"Run: echo {shlex.quote('/' + path.name)} >> "
            f"{shlex.quote(str(path.parent / '.gitignore'))}, or put the key elsewhere.",
        )
    if state == "unknown":
        raise ConfigurationError(
            f"{path} is in a git work tree that git does not read for this user",
            remedy="Run it as the work tree's owner, or put the key elsewhere.",
        )
