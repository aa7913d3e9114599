"""Whether a file with a secret is for its owner's eyes, and outside of version control."""

import stat
from pathlib import Path

from embed_index.pipeline.git_tracking import git_state
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
