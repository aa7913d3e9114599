"""Whose a ledger is: one collection of one Milvus has one ledger in a state folder."""

from collections.abc import Iterator
from contextlib import contextmanager

from embed_index.jobs.adapters.places import (
    dead_letter_folder,
    ledger_path,
    ledgers_of_name,
    lock_path,
    shared_ledger_path,
)
from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.ledger.ledger import Ledger, move_ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.settings import JobSettings


@contextmanager
def locked_collection(settings: JobSettings) -> Iterator[None]:
    """Hold the run lock of a job's collection, with its ledger in its place if there is one.

    Raises:
        LockHeldError: Another run works on the collection.
    """
    with RunLock(lock_path(settings, settings.collection)):
        _take_over(settings)
        yield


def _take_over(settings: JobSettings) -> None:
    """Make the ledger that all collections of a name shared the job's, if it has none.

    Of several jobs the first takes it; the ledgers of the others are rebuilt from their Milvus.
    """
    collection = settings.collection
    old, new = shared_ledger_path(settings, collection), ledger_path(settings, collection)
    if new.exists() or not old.exists():
        return
    with RunLock(old.with_suffix(".lock")) as lock:
        letters = dead_letter_folder(settings, collection)
        shared_letters = letters.with_name(collection)
        if shared_letters.is_dir() and not letters.exists():
            shared_letters.rename(letters)
        # Last, so that what was cut short is done again.
        move_ledger(old, to=new)
        lock.path.unlink()


def claim_collection(settings: JobSettings, *, store: MilvusStore) -> None:
    """Have no other ledger of the state folder speak for the job's collection; the lock is held.

    Another one does where its job spells the same Milvus otherwise, as by another host name. It
    would not hear of what this job does, and is rebuilt from Milvus should it be used again.

    Raises:
        LockHeldError: A run of that job is at work.
    """
    collection = settings.collection
    own = ledger_path(settings, collection)
    others = [path for path in ledgers_of_name(settings, collection) if path != own]
    if not others:
        return
    ids = {
        store.versions.contract(version).collection_id
        for version in store.versions.list(collection)
    }
    for path in others:
        try:
            other = Ledger(path)
        except ConfigurationError:
            # It cannot be used by anybody, and whoever tries is told so.
            continue
        with other:
            claimed = [version for version, known in other.versions().items() if known in ids]
            if claimed:
                with RunLock(path.with_suffix(".lock")):
                    for version in claimed:
                        other.rename_collection(version, collection_id="")
