"""The two keys of a rotation, written down so that it ends whoever dies meanwhile.

The key's own place decides which of both stays. The other one is taken, too, until a moment that is
written here; then the server forgets it by itself. The file holds fingerprints and no key.
"""

import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.secrecy.files import create_private
from embed_index.schemas.errors import ConfigurationError

_FILE = "key-rotation.json"
# A hyphen, which no collection's name has: their locks are in the same folder.
_LOCK = "key-rotation.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """Both keys by their fingerprints."""

    old: str
    new: str
    until: float
    """Seconds since 1970; until then both are taken."""
    is_written: bool = False
    """Whether the new one is known to be in its place, so that the old one is what ends."""

    @property
    def is_over(self) -> bool:
        """Whether only the key in its place is taken."""
        return time.time() >= self.until


def rotation_lock(state_dir: Path) -> RunLock:
    """Return the lock of all that change the key of one state folder's server."""
    means = "Another `embed-index keys rotate` changes the key of this state folder's server"
    return RunLock(state_dir / _LOCK, held_means=means)


def read_rotation(state_dir: Path) -> Rotation | None:
    """Return the rotation that goes on, or is over and was not put away.

    Raises:
        ConfigurationError: Its file is damaged or cannot be read.
    """
    path = state_dir / _FILE
    try:
        rotation = Rotation(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        raise ConfigurationError(
            f"{path} cannot be read",
            remedy="Remove it: the key in its own place is then the only one.",
        ) from None
    return rotation


def write_rotation(state_dir: Path, rotation: Rotation) -> None:
    """Put it down in one step, for the folder's owner to read.

    Raises:
        ConfigurationError: It cannot be written; what was there is untouched.
    """
    path, owner = state_dir / _FILE, state_dir.stat()
    draft = path.with_name(f".{_FILE}.{secrets.token_hex(8)}")
    try:
        create_private(draft, json.dumps(asdict(rotation)).encode())
        os.chown(draft, owner.st_uid, owner.st_gid)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}", remedy="Check the folder and the disk."
        ) from None


def put_away(state_dir: Path) -> None:
    """Remove it: only the key in its place is taken from the next reading on."""
    (state_dir / _FILE).unlink(missing_ok=True)
