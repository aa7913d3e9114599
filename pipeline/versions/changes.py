"""What people do with the versions behind an alias: promote, roll back, remove old ones.

Call these with the collection's run lock held.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.milvus.versions import version_number
from embed_index.pipeline.versions.check import find_fault
from embed_index.schemas.errors import ConfigurationError, StoreError

_SHORT_NAME = re.compile(r"v?([1-9][0-9]*)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """Where an alias points, and where it pointed before."""

    collection: str
    live: str
    before: str | None
    """The same as `live` where nothing had to be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCleanup:
    """Which versions go and which stay, the oldest first."""

    collection: str
    live: str
    dropped: tuple[str, ...]
    kept: tuple[str, ...]
    """The live one included."""


def promote(
    store: MilvusStore,
    *,
    alias: str,
    version: str | None,
    ledger: Ledger | None,
    force: bool,
    finished: Collection[str] = (),
    admit: Callable[[str, str], None] = lambda _version, _live: None,
) -> AliasMove:
    """Point the alias at a version that was found to be whole.

    Args:
        store: The Milvus.
        alias: What users call the collection.
        version: Its name, or its number such as `2` or `v2`; None for the newest.
        ledger: Of the alias; None where there is none here.
        force: Whether a version is promoted that cannot be found to be whole.
        finished: Versions that never were live, and yet are known to have been filled.
        admit: Called with a whole version and the live one before the alias moves; raises to keep
            it where it is.

    Raises:
        ConfigurationError: There is no such version, or it was never finished.
        StoreError: The version is not whole, or Milvus stays away.
    """
    versions = _versions_of(store, alias)
    name = versions[-1] if version is None else _full_name(alias, version)
    if name not in versions:
        raise ConfigurationError(
            f"{name!r} is not a version of {alias!r}; there are {', '.join(versions)}",
            remedy="Name one of these, or leave the version out for the newest.",
        )
    before = store.versions.live(alias)
    if name != before and not force:
        _check(store, name=name, ledger=ledger, finished=finished)
    if before is not None and name != before:
        admit(name, before)
    return _move(store, alias=alias, to=name, before=before, ledger=ledger)


def roll_back(store: MilvusStore, *, alias: str, ledger: Ledger | None) -> AliasMove:
    """Point the alias at the version before the live one, passing over unfinished ones.

    Raises:
        ConfigurationError: There is no earlier version.
        StoreError: Milvus stays away.
    """
    versions = _versions_of(store, alias)
    live = _live_of(store, alias)
    unfinished = _unfinished(ledger)
    earlier = [
        name
        for name in versions
        if version_number(name) < version_number(live) and name not in unfinished
    ]
    if not earlier:
        raise ConfigurationError(
            f"{alias!r} has no version before {live}",
            remedy="See `embed-index describe` for those that exist.",
        )
    return _move(store, alias=alias, to=earlier[-1], before=live, ledger=ledger)


def plan_cleanup(
    store: MilvusStore, *, alias: str, keep: int, ledger: Ledger | None
) -> VersionCleanup:
    """Decide which versions go: all but the live one and the newest `keep` of the others.

    A rebuild that is not finished stays, too, and is not counted, unless `keep` is 0.

    Raises:
        ConfigurationError: There is no such collection.
    """
    versions = _versions_of(store, alias)
    live = _live_of(store, alias)
    unfinished = _unfinished(ledger)
    others = [name for name in versions if name != live]
    is_rebuild = bool(others) and others[-1] == versions[-1] and others[-1] in unfinished
    rebuild = others[-1:] if keep and is_rebuild else []
    counted = [name for name in others if name not in rebuild]
    dropped = counted[: max(len(counted) - keep, 0)]
    return VersionCleanup(
        collection=alias,
        live=live,
        dropped=tuple(dropped),
        kept=tuple(name for name in versions if name not in dropped),
    )


def clean_up(store: MilvusStore, plan: VersionCleanup, *, ledger: Ledger | None) -> None:
    """Drop versions from Milvus, then from the ledger, with what an earlier attempt left there.

    Raises:
        ConfigurationError: An alias points at one of them.
        StoreError: Milvus stays away.
    """
    for name in plan.dropped:
        store.versions.drop(name)
        if ledger is not None:
            ledger.drop_version(name)
    if ledger is not None:
        for name in ledger.versions().keys() - set(plan.kept):
            ledger.drop_version(name)


def _versions_of(store: MilvusStore, alias: str) -> list[str]:
    store.versions.check_alias(alias)
    versions = store.versions.list(alias)
    if not versions:
        raise _no_collection(alias)
    return versions


def _live_of(store: MilvusStore, alias: str) -> str:
    live = store.versions.live_version(alias)
    if live is None:
        raise _no_collection(alias)
    return live


def _no_collection(alias: str) -> ConfigurationError:
    return ConfigurationError(
        f"there is no collection {alias!r} of embed-index in this Milvus",
        remedy="Check the name, --milvus-uri and --milvus-db.",
    )


def _full_name(alias: str, version: str) -> str:
    short = _SHORT_NAME.fullmatch(version)
    return version if short is None else f"{alias}_v{short[1]}"


def _unfinished(ledger: Ledger | None) -> set[str]:
    """Return the versions that the ledger knows and that never were live."""
    return set() if ledger is None else set(ledger.versions()) - ledger.once_live()


def _check(
    store: MilvusStore, *, name: str, ledger: Ledger | None, finished: Collection[str]
) -> None:
    collection_id = store.versions.contract(name).collection_id
    if ledger is None or ledger.versions().get(name) != collection_id:
        raise ConfigurationError(
            f"{name}: no ledger here says what it should hold, so it cannot be checked",
            remedy="Give the --state-dir of the run that filled it, or promote it with --force.",
        )
    if name not in ledger.once_live() and name not in finished:
        raise ConfigurationError(
            f"{name}: the rebuild that fills it is not finished",
            remedy="Finish it with `embed-index run --rebuild`, or promote it with --force.",
        )
    store.versions.load(name)
    if fault := find_fault(store.reader, ledger.documents(name, collection_id=collection_id)):
        raise StoreError(
            f"{name} is not whole: {fault}; the alias stays where it was",
            remedy="Fill it again with `run --rebuild`, or promote it with --force.",
        )


def _move(
    store: MilvusStore, *, alias: str, to: str, before: str | None, ledger: Ledger | None
) -> AliasMove:
    if to != before:
        store.versions.set_live(alias, version=to)
    if ledger is not None:
        for name in (before, to):
            if name is not None:
                ledger.mark_live(name)
    return AliasMove(collection=alias, live=to, before=before)
