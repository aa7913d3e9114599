"""Which `embed-index serve` runs from a state folder, for those who want to reach or signal it."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import SecretStr

from embed_index.pipeline.disk.lock import RunLock, find_holder
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.schemas.errors import ConfigurationError

# A hyphen, which no collection's name has: their locks are in the same folder.
_LOCK = "embedding-server.lock"
_RECORD = "embedding-server.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingRecord:
    """What a running `serve` tells of itself; SIGHUP has it read its keys anew."""

    pid: int
    url: str
    key_file: str | None
    """Absolute path of what it reads its key from; None for a variable of its environment."""
    key_from_systemd: bool
    """Whether that is a credential, so that the key's own file is known to systemd alone."""

    def endpoint(self, key: SecretStr) -> EmbeddingEndpoint:
        """Return where it serves, with what is taken for its key."""
        return EmbeddingEndpoint.from_settings(self.url, key=key, model="default", is_ours=True)

    @classmethod
    def of_this_process(
        cls, *, url: str, key_file: Path | None, key_from_systemd: bool
    ) -> "ServingRecord":
        """Return the record of a server that this process runs."""
        return cls(
            pid=os.getpid(),
            url=url,
            key_file=None if key_file is None else str(key_file.resolve()),
            key_from_systemd=key_from_systemd,
        )


@contextmanager
def recorded_serving(folder: Path, record: ServingRecord) -> Iterator[None]:
    """Be the only one that serves from a state folder, and say so, within the context.

    Raises:
        LockHeldError: Another process serves from it.
        ConfigurationError: The folder cannot be written to.
    """
    with RunLock(folder / _LOCK, held_means="A server runs from this state folder already"):
        path = folder / _RECORD
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(asdict(record)))
        draft.replace(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def find_serving(folder: Path) -> ServingRecord | None:
    """Return who serves from a state folder at this moment; what a dead one left does not count."""
    holder = find_holder(folder / _LOCK)
    if holder is None:
        return None
    try:
        record = ServingRecord(**json.loads((folder / _RECORD).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return record if record.pid == holder.pid else None


def have_keys_read(serving: ServingRecord) -> None:
    """Have a server take the keys that lie in its files now; one that just ended does not.

    Raises:
        ConfigurationError: It belongs to another user.
    """
    try:
        os.kill(serving.pid, signal.SIGHUP)
    except ProcessLookupError:
        return
    except PermissionError:
        raise ConfigurationError(
            f"process {serving.pid}, which serves, belongs to another user",
            remedy="Run it as that user.",
        ) from None
