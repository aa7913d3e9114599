"""Other indexes over the rows of a collection: adapters built, the run lock taken."""

import time
from collections.abc import Callable

from embed_index.jobs.adapters.arrangement import arrangement_of
from embed_index.jobs.adapters.ledgers import locked_collection
from embed_index.jobs.adapters.live_version import live_version
from embed_index.jobs.adapters.places import open_job_store
from embed_index.pipeline.milvus.arrangement import Changes
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import ContractError
from embed_index.schemas.indexes import Reindexed
from embed_index.schemas.settings import JobSettings


def reindex_collection(settings: JobSettings, *, tell: Callable[[str], None]) -> Reindexed:
    """Give the version that searches see the indexes that the job names.

    Args:
        settings: Where the collection is, and what indexes it shall have.
        tell: Called with a sentence for people before anything is done.

    Raises:
        ConfigurationError: There is no such collection or column, or Milvus makes no such index.
        ContractError: The job also wants what needs a rebuild.
        LockHeldError: A run works on the collection.
        StoreError: Milvus cannot be used.
    """
    with locked_collection(settings), open_job_store(settings) as store:
        version = live_version(store, settings.collection)
        _check_contract(settings, version=version, store=store)
        indexes, wanted = store.versions.indexes, arrangement_of(settings)
        indexes.check(wanted, carried=store.versions.carried(version))
        before = indexes.read(version)
        began = time.monotonic()

        def warn(changes: Changes) -> None:
            tell(
                f"{version}, {counted(store.reader.count(version), 'row')}: {changes}; until it is"
                " done, searches of it fail or wait"
            )

        changed = indexes.replace(version, wanted, before_change=warn)
        after = indexes.read(version)
        return Reindexed(
            version=version,
            before=str(before),
            now=str(after),
            changed=changed,
            seconds=round(time.monotonic() - began, 1),
        )


def _check_contract(settings: JobSettings, *, version: str, store: MilvusStore) -> None:
    """Refuse what the rows themselves would have to change for."""
    wanted: dict[str, object] = {
        name: getattr(settings, name)
        for name in ("partition_key", "shards", "vector_type")
        if name in settings.model_fields_set
    }
    if "text_search" in settings.model_fields_set:
        wanted["text_analyzer"] = settings.text_analyzer if settings.text_search else ""
    contract = store.versions.contract(version)
    for name, here in wanted.items():
        there = getattr(contract, name)
        if there != here:
            raise ContractError(
                f"{version} was made another way: {name} is {there!r} there and {here!r} in this"
                " job",
                remedy="An index is over what there is; fill a new version with `embed-index run"
                " --rebuild`.",
            )
