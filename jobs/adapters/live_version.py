"""The version that work on an existing collection is about: the one that searches see."""

from collections.abc import Collection

from embed_index.jobs.adapters.inputs import JobInputs
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.milvus.versions import no_such_collection
from embed_index.pipeline.versions.target import TargetVersion, choose_target


def live_version(store: MilvusStore, collection: str) -> str:
    """Return the version that searches of a collection see.

    Raises:
        ConfigurationError: There is none.
    """
    # Milvus is not asked for what cannot be a name: it would answer with an error of its own.
    is_askable = bool(collection) and collection.isascii()
    version = store.versions.live(collection) if is_askable else None
    if version is None:
        raise no_such_collection(collection)
    return version


def settled_target(inputs: JobInputs, *, store: MilvusStore) -> TargetVersion:
    """Return the live version of a job's collection.

    Raises:
        ConfigurationError: There is no such collection.
        ContractError: It was made another way than this job would make it.
    """
    store.versions.load(live_version(store, inputs.settings.collection))
    return target_of(inputs, store=store, rebuild=False)


def target_of(
    inputs: JobInputs, *, store: MilvusStore, rebuild: bool, once_live: Collection[str] = ()
) -> TargetVersion:
    """Choose what a job works on, as `choose_target` does, and read the corpus as that takes it.

    Where the corpus leaves open of what type a carried column is, it is of the collection's.
    """
    collection = inputs.settings.collection
    live = store.versions.live(collection)
    if live is not None:
        # A rebuild makes JSON of what once was carried as its text.
        known = store.versions.carried(live)
        inputs.source.adopt_types([x for x in known if not (rebuild and x.type == "text")])
    target = choose_target(
        store.versions,
        collection,
        wanted=inputs.contract(),
        carried=inputs.source.carried_columns,
        rebuild=rebuild,
        once_live=once_live,
    )
    inputs.source.store_as(target.carried)
    return target
