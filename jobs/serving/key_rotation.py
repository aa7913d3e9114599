"""A new key for the server of `embed-index serve`: both taken for a while, then the old one dead.

At every moment the server takes the key that is in its place. So a rotation that is killed breaks
nothing: the other key ends at the moment that `rotation` wrote down before.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from embed_index.jobs.cli.signals import stopping_on_signals
from embed_index.jobs.serving.key_life import draw_key
from embed_index.jobs.serving.key_places import KeyPlace
from embed_index.pipeline.secrecy.proof import fingerprint
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.pipeline.server.intrusion import knows_key, takes_key
from embed_index.pipeline.server.rotation import (
    Rotation,
    put_away,
    read_rotation,
    rotation_lock,
    write_rotation,
)
from embed_index.pipeline.server.serving_record import (
    ServingRecord,
    find_serving,
    have_keys_read,
)
from embed_index.pipeline.server.supervision import Tell
from embed_index.schemas.errors import ConfigurationError, LockHeldError, ServerError
from embed_index.schemas.moments import in_words

_POLL_SECONDS = 0.2

Check = Callable[[ServingRecord], Awaitable[bool]]


def rotate_key(
    place: KeyPlace,
    *,
    state_dir: Path,
    overlap_seconds: float,
    patience_seconds: float,
    tell: Tell,
) -> str:
    """Give the running server a new key, and let the old one end; return when it has.

    Args:
        place: Where the key lives, and where the server reads it from.
        state_dir: State folder of `embed-index serve`.
        overlap_seconds: How long both keys are taken once the new one is in its place.
        patience_seconds: How long the server may take to take and to refuse a key.
        tell: Called with a sentence for people when both are taken.

    Returns:
        The server's address. It takes the new key now, and refuses the old one.

    Raises:
        ConfigurationError: The place is unusable, or the server reads its key elsewhere.
        LockHeldError: Another rotation goes on.
        ServerError: No server runs, or it does not take the new key or refuse the old one in time.
    """
    old = place.read()
    REDACTOR.remember(old.get_secret_value())
    _refuse_other_source(_find(state_dir), place=place)
    with rotation_lock(state_dir):
        _refuse_unfinished(state_dir, old)
        rotator = _Rotator(place, state_dir=state_dir, patience_seconds=patience_seconds)
        return asyncio.run(rotator.rotate(old, overlap_seconds=overlap_seconds, tell=tell))


def finish_rotation(place: KeyPlace, *, state_dir: Path, patience_seconds: float) -> str:
    """End the overlap of a rotation that was interrupted: the key in its place stays alone.

    Returns:
        The server's address. It takes that key, and refuses the other one.

    Raises:
        ConfigurationError: No rotation goes on, or the place holds neither of its keys.
        LockHeldError: The rotation itself still waits.
        ServerError: No server runs, or it does not do so in time.
    """
    key = place.read()
    REDACTOR.remember(key.get_secret_value())
    _refuse_other_source(_find(state_dir), place=place)
    with rotation_lock(state_dir):
        rotation = read_rotation(state_dir)
        known = _known(key)
        if rotation is None or known not in (rotation.old, rotation.new):
            raise ConfigurationError(
                f"no rotation of the key in {place.path} goes on",
                remedy="Begin one: `embed-index keys rotate --key-file FILE`.",
            )
        rotator = _Rotator(place, state_dir=state_dir, patience_seconds=patience_seconds)
        return asyncio.run(rotator.finish(key, rotation))


class _Rotator:
    """One change of one server's key."""

    def __init__(self, place: KeyPlace, *, state_dir: Path, patience_seconds: float) -> None:
        self._place = place
        self._state_dir = state_dir
        self._patience_seconds = patience_seconds

    async def rotate(self, old: SecretStr, *, overlap_seconds: float, tell: Tell) -> str:
        await _refuse_other_key(_find(self._state_dir), old, place=self._place)
        new = draw_key()
        rotation = Rotation(
            old=_known(old),
            new=_known(new),
            until=time.time() + self._patience_seconds + overlap_seconds,
        )
        # A signal takes effect where something is awaited: never between a key and the word of it.
        with stopping_on_signals(lambda: False, grace_seconds=0.0):
            try:
                self._agree(rotation)
                await self._wait_until(lambda serving: _takes(serving, new, both=old))
                self._place.replace(new)
                until = time.time() + overlap_seconds
                self._agree(replace(rotation, until=until, is_written=True))
                if overlap_seconds:
                    moment = in_words(datetime.fromtimestamp(until, UTC))
                    tell(
                        f"the new key is in {self._place.path}; the server takes both until"
                        f" {moment}, and then the old one is tried"
                    )
                await asyncio.sleep(overlap_seconds)
                return await self._wait_until(lambda serving: _takes(serving, new, dead=old))
            except BaseException as error:
                error.add_note(self._after_all(new))
                raise

    async def finish(self, key: SecretStr, rotation: Rotation) -> str:
        known = _known(key)
        if known == rotation.new:
            self._agree(replace(rotation, until=time.time(), is_written=True))
        else:
            put_away(self._state_dir)
            have_keys_read(_find(self._state_dir))
        (other,) = {rotation.old, rotation.new} - {known}

        async def is_alone(serving: ServingRecord) -> bool:
            is_other_dead = await knows_key(serving.url, other) is False
            return is_other_dead and bool(await takes_key(serving.endpoint(key)))

        return await self._wait_until(is_alone)

    def _agree(self, rotation: Rotation) -> None:
        """Have the server take what a rotation says."""
        write_rotation(self._state_dir, rotation)
        have_keys_read(_find(self._state_dir))

    async def _wait_until(self, check: Check) -> str:
        """Return the server's address once the check says yes to it."""
        serving = _find(self._state_dir)
        deadline = time.monotonic() + self._patience_seconds
        while time.monotonic() < deadline:
            now = find_serving(self._state_dir)
            if now is None and not serving.key_from_systemd:
                raise ServerError(
                    "embed-index serve ended instead of changing its key.",
                    remedy=f"See its output and {self._state_dir / 'logs'}, and start it again.",
                )
            if now is not None and await check(now):
                return now.url
            await asyncio.sleep(_POLL_SECONDS)
        raise ServerError(
            f"The server did not change its key within {self._patience_seconds:.0f} s.",
            remedy=f"See its output and {self._state_dir / 'logs'}, or raise"
            " --start-timeout-seconds.",
        )

    def _after_all(self, new: SecretStr) -> str:
        """Withdraw a key that is not in its place; return in words which key is where."""
        if _holds(self._place, new):
            return (
                f"The new key is in {self._place.path}. The old one ends by itself; `embed-index "
                "keys rotate --finish` ends it at once, and proves it."
            )
        put_away(self._state_dir)
        serving = find_serving(self._state_dir)
        if serving is not None:
            have_keys_read(serving)
        return f"The old key stays in {self._place.path}; the new one was in no place."


def _known(key: SecretStr) -> str:
    return fingerprint(key.get_secret_value().encode())


def _holds(place: KeyPlace, key: SecretStr) -> bool:
    try:
        return place.read() == key
    except ConfigurationError:
        return False


async def _takes(
    serving: ServingRecord,
    key: SecretStr,
    *,
    both: SecretStr | None = None,
    dead: SecretStr | None = None,
) -> bool:
    """Tell whether a server takes a key, and another one as well, or that one no more."""
    server = serving.endpoint(key)
    if not await takes_key(server):
        return False
    if both is not None:
        return bool(await takes_key(server, key=both))
    return await takes_key(server, key=dead) is False


def _refuse_unfinished(state_dir: Path, key: SecretStr) -> None:
    """Refuse to rotate while clients may still use the key before the one in its place."""
    rotation = read_rotation(state_dir)
    # A new key that never came into its place is in nobody's hands.
    if rotation is None or rotation.is_over or rotation.old == _known(key):
        return
    moment = in_words(datetime.fromtimestamp(rotation.until, UTC))
    raise LockHeldError(
        f"The last rotation goes on: its old key is taken until {moment}.",
        remedy="Wait, or end it: `embed-index keys rotate --finish --key-file FILE`.",
    )


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
