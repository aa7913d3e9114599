"""Dropping a collection with everything that belongs to it."""

import json
import shutil
from dataclasses import asdict, dataclass

from embed_index.jobs.adapters.places import dead_letter_folder, ledger_path, lock_path
from embed_index.jobs.collections.versions import locked_versions
from embed_index.pipeline.disk.errors import explain_disk
from embed_index.pipeline.ledger.ledger import remove_ledger
from embed_index.pipeline.milvus.versions import no_such_collection
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.settings import JobSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What belongs to a collection."""

    collection: str
    live: str | None
    """What its name stands for in Milvus; None for nothing."""
    versions: tuple[str, ...]
    ledger: str | None
    num_letter_files: int

    def __str__(self) -> str:
        """Name it all on one line."""
        parts = [*(["its name"] if self.live else []), *self.versions]
        if self.ledger is not None:
            parts.append(f"the ledger {self.ledger}")
        if self.num_letter_files:
            parts.append(f"{counted(self.num_letter_files, 'file')} of dead letters")
        return ", ".join(parts)


def remove_collection(settings: JobSettings, *, confirmed: bool) -> Removal:
    """Drop alias, versions, dead letters and ledger; a removal that was cut short is gone on with.

    Raises:
        ConfigurationError: There is no such collection, or `confirmed` is false: nothing is done.
        LockHeldError: A run is at work.
        StoreError: Milvus cannot be used.
    """
    collection = settings.collection
    ledger, letters = ledger_path(settings, collection), dead_letter_folder(settings, collection)
    with locked_versions(settings, claim=False) as (store, opened):
        if opened is not None:
            opened.close()
        store.versions.check_alias(collection)
        removal = Removal(
            collection=collection,
            live=store.versions.live_version(collection),
            versions=tuple(store.versions.list(collection)),
            ledger=ledger.name if ledger.exists() else None,
            num_letter_files=len(list(letters.glob("*.parquet"))),
        )
        if not str(removal):
            raise no_such_collection(collection)
        if not confirmed:
            raise ConfigurationError(
                f"nothing was dropped; this would drop of {collection!r}: {removal}",
                remedy="Give --yes to drop it. It cannot be brought back but by a run.",
            )
        # Whoever searches is told at once; what is last here says that there is more to do.
        store.versions.drop_alias(collection)
        for version in removal.versions:
            store.versions.drop(version)
        try:
            if letters.exists():
                shutil.rmtree(letters)
            remove_ledger(ledger)
            lock_path(settings, collection).unlink()
        except OSError as error:
            raise explain_disk(
                error,
                subject=f"{error.filename}: what belongs to {collection!r} cannot be removed",
                remedy="Check owner and permissions of the state folder (--state-dir).",
            ) from error
    return removal


def removal_as_text(removal: Removal) -> str:
    """Return one line."""
    return f"dropped {removal.collection}: {removal}"


def removal_as_json(removal: Removal) -> str:
    """Return one JSON object."""
    return json.dumps(asdict(removal), indent=2)
