"""The version that work on an existing collection is about: the one that searches see."""

from embed_index.jobs.adapters.inputs import JobInputs
from embed_index.jobs.collections.search import live_version
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.versions.target import TargetVersion, choose_target


def settled_target(inputs: JobInputs, *, store: MilvusStore) -> TargetVersion:
    """Return the live version of a job's collection.

    Raises:
        ConfigurationError: There is no such collection.
        ContractError: It was made another way than this job would make it.
    """
    collection = inputs.settings.collection
    store.versions.load(live_version(store, collection))
    return choose_target(
        store.versions,
        collection,
        wanted=inputs.contract(),
        carried=inputs.source.carried_columns,
        rebuild=False,
    )
