"""A new key for the server of `embed-index serve`: written, taken, and the old one proven dead."""

import asyncio
import os
import signal
import time
from pathlib import Path

from pydantic import SecretStr

from embed_index.jobs.cli.signals import stopping_on_signals
from embed_index.jobs.serving.key_life import draw_key
from embed_index.jobs.serving.key_places import KeyPlace
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.pipeline.server.intrusion import takes_key
from embed_index.pipeline.server.serving_record import ServingRecord, find_serving
from embed_index.schemas.errors import ConfigurationError, ServerError

_POLL_SECONDS = 0.2


def rotate_key(place: KeyPlace, *, state_dir: Path, patience_seconds: float) -> str:
    """Give the running server a new key; on any failure the old one is put back.

    Args:
        place: Where the key lives, and where the server reads it from.
        state_dir: State folder of `embed-index serve`.
        patience_seconds: How long the restart may take.

    Returns:
        The server's address. It takes the new key now, and refuses the old one.

    Raises:
        ConfigurationError: The place is unusable, or the server reads its key elsewhere.
        ServerError: No server runs, or it does not come back with the new key.
    """
    return asyncio.run(_rotate(place, state_dir=state_dir, patience_seconds=patience_seconds))


async def _rotate(place: KeyPlace, *, state_dir: Path, patience_seconds: float) -> str:
    old = place.read()
    REDACTOR.remember(old.get_secret_value())
    serving = _find(state_dir)
    _refuse_other_source(serving, place=place)
    await _refuse_other_key(serving, old, place=place)
    new = draw_key()
    # A signal takes effect where something is awaited: never between a key and the word of it.
    with stopping_on_signals(lambda: False, grace_seconds=0.0):
        place.replace(new)
        try:
            _signal(serving)
            return await _wait_for_change(
                old, new, state_dir=state_dir, serving=serving, patience_seconds=patience_seconds
            )
        except BaseException as error:
            error.add_note(_put_back(old, place=place, state_dir=state_dir))
            raise


def _put_back(old: SecretStr, *, place: KeyPlace, state_dir: Path) -> str:
    """Undo what was done; return in words which key is where."""
    try:
        place.replace(old)
    except ConfigurationError as error:
        return f"The new key stays in {place.path}: {error.message}."
    serving = find_serving(state_dir)
    if serving is None:
        return f"The old key is back in {place.path}."
    _signal(serving)
    return f"The old key is back in {place.path}, and the server was told to take it."


def _find(state_dir: Path) -> ServingRecord:
    serving = find_serving(state_dir)
    if serving is None:
        raise ServerError(
            f"No embed-index serve runs from the state folder {state_dir}.",
            remedy="Name its folder with --state-dir. The key of a server that does not run is "
            "changed by `embed-index keys destroy` and `generate`.",
        )
    return serving


def _refuse_other_source(serving: ServingRecord, *, place: KeyPlace) -> None:
    """Refuse a place from which the server would not read its key again."""
    if serving.key_from_systemd:
        return
    if serving.key_file is None:
        raise ConfigurationError(
            f"the server of process {serving.pid} has its key from its environment, and would come "
            "back with the same one",
            remedy="Start `embed-index serve` with --key-file or .env.",
        )
    if serving.key_file != str(place.path):
        raise ConfigurationError(
            f"the server of process {serving.pid} reads its key from {serving.key_file}, "
            f"not from {place.path}",
            remedy="Name that file.",
        )


async def _refuse_other_key(serving: ServingRecord, key: SecretStr, *, place: KeyPlace) -> None:
    """Refuse a server that does not answer with the key, which would tell nothing afterwards."""
    takes = await takes_key(serving.endpoint(key))
    if takes is None:
        raise ServerError(
            f"The server at {serving.url} does not answer.",
            remedy="Wait until it is ready: `embed-index serve` says so.",
        )
    if not takes:
        # As after a rotation that was killed between writing the key and sending the signal.
        raise ServerError(
            f"The server at {serving.url} does not take the key in {place.path}.",
            remedy=f"If that is the key to have, have the server read it: kill -HUP {serving.pid}. "
            "Otherwise put the server's key there, or name the place that it reads its key from.",
        )


def _signal(serving: ServingRecord) -> None:
    try:
        os.kill(serving.pid, signal.SIGHUP)
    except ProcessLookupError:
        return
    except PermissionError:
        raise ConfigurationError(
            f"process {serving.pid}, which serves, belongs to another user",
            remedy="Run it as that user.",
        ) from None


async def _wait_for_change(
    old: SecretStr,
    new: SecretStr,
    *,
    state_dir: Path,
    serving: ServingRecord,
    patience_seconds: float,
) -> str:
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        now = find_serving(state_dir)
        if now is None and not serving.key_from_systemd:
            raise ServerError(
                "embed-index serve ended instead of coming back with the new key.",
                remedy=f"See its output and {state_dir / 'logs'}, and start it again.",
            )
        if now is not None:
            server = now.endpoint(new)
            if await takes_key(server) and await takes_key(server, key=old) is False:
                return now.url
        await asyncio.sleep(_POLL_SECONDS)
    raise ServerError(
        f"The server did not come back with the new key within {patience_seconds:.0f} s.",
        remedy=f"See its output and {state_dir / 'logs'}, or raise --start-timeout-seconds.",
    )
