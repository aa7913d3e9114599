"""Keys with names: given, shown without the key, and taken away, with the server's word for it."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embed_index.jobs.serving.key_life import draw_key
from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.secrecy.checks import refuse_unsafe_place
from embed_index.pipeline.secrecy.files import create_private, replace_private
from embed_index.pipeline.secrecy.named_keys import (
    FILE_NAME,
    MAX_NAMES,
    NAME,
    NamedKey,
    read_lines,
    read_named_keys,
)
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.pipeline.server.intrusion import takes_key
from embed_index.pipeline.server.serving_record import find_serving, have_keys_read
from embed_index.schemas.errors import ConfigurationError, ServerError

_LOCK = "named-keys.lock"
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 30.0


def add_named_key(
    name: str, *, state_dir: Path, query_only: bool = False, per_minute: int | None = None
) -> Path:
    """Draw a key for somebody and write it down; a server that runs takes it from then on.

    Returns:
        The file with the key in it.

    Raises:
        ConfigurationError: The name is none or is taken, or the file is unusable.
        ServerError: The server that runs does not take the key.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            "a name has at most 32 of a-z, 0-9, `.`, `_` and `-`, and does not begin like a key",
            remedy="Choose another name.",
        )
    path = state_dir / FILE_NAME
    with _changing(path):
        lines = read_lines(path)
        names = [key.name for _, key in lines if key is not None]
        if name in names:
            raise ConfigurationError(
                f"{path} has a key for {name} already",
                remedy=f"For another one, remove it first: embed-index keys remove {name}",
            )
        if len(names) >= MAX_NAMES:
            raise ConfigurationError(
                f"{path} has {len(names)} keys, and a server takes no more",
                remedy="Remove those that nobody uses: embed-index keys remove",
            )
        added = NamedKey(name=name, key=draw_key(), query_only=query_only, per_minute=per_minute)
        before = "".join(line for line, _ in lines)
        _write(path, before + ("" if not before or before.endswith("\n") else "\n") + added.line)
        _have_taken(added, state_dir=state_dir, expected=True)
    return path


def remove_named_key(name: str, *, state_dir: Path) -> Path:
    """Remove somebody's key; a server that runs refuses it from then on.

    Returns:
        The file that it was in.

    Raises:
        ConfigurationError: Nobody has that name, or the file is unusable.
        ServerError: The server that runs still takes the key, or does not answer.
    """
    path = state_dir / FILE_NAME
    with _changing(path):
        lines = read_lines(path)
        removed = [key for _, key in lines if key is not None and key.name == name]
        if not removed:
            raise ConfigurationError(
                f"{path} has no key for that name", remedy="See: embed-index keys list"
            )
        _write(path, "".join(line for line, key in lines if key not in removed))
        REDACTOR.remember(removed[0].key.get_secret_value())
        _have_taken(removed[0], state_dir=state_dir, expected=False)
    return path


def named_keys_as_text(state_dir: Path) -> str:
    """Return a line for each name: what its key opens, and how often; never the key."""
    keys = read_named_keys(state_dir / FILE_NAME)
    width = max((len(key.name) for key in keys), default=0)
    lines = [f"{key.name:<{width}}  {key.scope or 'everything'}" for key in keys]
    return "\n".join(lines or ["no key has a name here"])


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Be the only one that changes the file, in a place that is safe."""
    means = "Another `embed-index keys` command changes the named keys"
    with RunLock(path.with_name(_LOCK), held_means=means):
        refuse_unsafe_place(path)
        yield


def _write(path: Path, text: str) -> None:
    """Replace the file in one step; the server's user, whose folder it is in, may read it."""
    try:
        if path.exists():
            replace_private(path, text.encode())
        else:
            create_private(path, text.encode())
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}", remedy="Check the folder and the disk."
        ) from None


def _have_taken(key: NamedKey, *, state_dir: Path, expected: bool) -> None:
    """Tell the server that runs, if one does, and wait until it does what the file says."""
    serving = find_serving(state_dir)
    if serving is None:
        return
    have_keys_read(serving)
    endpoint = serving.endpoint(key.key)
    takes: bool | None = None
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        takes = asyncio.run(takes_key(endpoint))
        if takes is expected:
            return
        time.sleep(_POLL_SECONDS)
    state = {None: "does not answer", True: "STILL TAKES IT", False: "does not take it"}[takes]
    raise ServerError(
        f"The key of {key.name} is {'in' if expected else 'gone from'} the file, and the server at "
        f"{serving.url} {state}.",
        remedy="See what `embed-index serve` says; restart it.",
    )
