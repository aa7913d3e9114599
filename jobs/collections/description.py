"""What a collection is and holds, for `describe`."""

from embed_index.jobs.adapters.live_version import live_version
from embed_index.jobs.adapters.places import existing_ledger, open_existing_store
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.schemas.description import CollectionDescription, VersionDescription
from embed_index.schemas.settings import JobSettings


def describe_collection(settings: JobSettings, *, collection: str) -> CollectionDescription:
    """Return contract, versions and counts.

    Raises:
        ConfigurationError: The collection does not exist.
        StoreError: Milvus cannot be used.
    """
    with open_existing_store(settings, collection) as store:
        live = live_version(store, collection)
        contract = store.versions.contract(live)
        versions = tuple(
            VersionDescription(name=name, live=name == live, num_chunks=store.reader.count(name))
            for name in store.versions.list(collection)
        )
    return CollectionDescription(
        collection=collection,
        contract=contract,
        versions=versions,
        num_documents=_count_documents(
            settings, collection=collection, version=live, collection_id=contract.collection_id
        ),
    )


def _count_documents(
    settings: JobSettings, *, collection: str, version: str, collection_id: str
) -> int | None:
    path = existing_ledger(settings, collection)
    if path is None:
        return None
    with Ledger(path) as ledger:
        if ledger.versions().get(version) != collection_id:
            return None
        counts = ledger.documents(version, collection_id=collection_id).counts()
    return counts.num_documents - counts.num_pending
