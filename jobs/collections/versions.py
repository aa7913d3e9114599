"""Roll back and remove versions: adapters built, the run lock taken."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from embed_index.jobs.adapters.ledgers import claim_collection, locked_collection
from embed_index.jobs.adapters.places import (
    ledger_path,
    open_existing_store,
    open_job_store,
)
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.versions.changes import (
    AliasMove,
    VersionCleanup,
    clean_up,
    plan_cleanup,
    roll_back,
)
from embed_index.schemas.settings import JobSettings


def roll_back_version(settings: JobSettings) -> AliasMove:
    """Point the alias at the version before; raises as `roll_back`, or LockHeldError."""
    with locked_versions(settings) as (store, ledger):
        return roll_back(store, alias=settings.collection, ledger=ledger)


def remove_versions(settings: JobSettings, *, keep: int, dry_run: bool) -> VersionCleanup:
    """Drop old versions, or only say which; raises as `clean_up`, or LockHeldError."""
    with locked_versions(settings) as (store, ledger):
        plan = plan_cleanup(store, alias=settings.collection, keep=keep, ledger=ledger)
        if not dry_run:
            clean_up(store, plan, ledger=ledger)
        return plan


@contextmanager
def locked_versions(
    settings: JobSettings, *, claim: bool = True
) -> Iterator[tuple[MilvusStore, Ledger | None]]:
    """Yield Milvus and the ledger, None where there is none, with no run at work.

    Args:
        settings: Name the collection.
        claim: Whether the ledger speaks for the collection from now on, and no other one.
    """
    path = ledger_path(settings, settings.collection)
    with ExitStack() as stack:
        stack.enter_context(locked_collection(settings))
        ledger = stack.enter_context(Ledger(path)) if path.exists() else None
        store = stack.enter_context(
            open_existing_store(settings, settings.collection)
            if claim
            else open_job_store(settings)
        )
        if claim:
            claim_collection(settings, store=store)
        yield store, ledger
