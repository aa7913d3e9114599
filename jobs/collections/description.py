"""What a collection is and holds, for `describe`."""

from embed_index.jobs.adapters.live_version import live_version
from embed_index.jobs.adapters.places import existing_ledger, open_existing_store
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.versions.precisions import find_precisions
from embed_index.schemas.contract import CollectionContract
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
        layout = store.versions.layout(live)
        versions = tuple(
            VersionDescription(name=name, live=name == live, num_chunks=store.reader.count(name))
            for name in store.versions.list(collection)
        )
    num_documents, precisions = _known_here(
        settings, collection=collection, version=live, contract=contract
    )
    return CollectionDescription(
        collection=collection,
        milvus=settings.milvus_uri,
        contract=contract,
        versions=versions,
        carried=layout.carried,
        has_words=layout.text_search,
        num_documents=num_documents,
        precisions=precisions,
    )


def _known_here(
    settings: JobSettings, *, collection: str, version: str, contract: CollectionContract
) -> tuple[int, str] | tuple[None, None]:
    """Return documents and precisions of a version, as far as a ledger is at hand to say it."""
    path = existing_ledger(settings, collection)
    if path is None:
        return None, None
    collection_id = contract.collection_id
    with Ledger(path) as ledger:
        if ledger.versions().get(version) != collection_id:
            return None, None
        counts = ledger.documents(version, collection_id=collection_id).counts()
        made = find_precisions(ledger, version=version, collection_id=collection_id)
    return counts.num_documents - counts.num_pending, made.in_words(contract.dtype)
