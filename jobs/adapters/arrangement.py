"""How a job wants Milvus to keep its collection."""

from embed_index.pipeline.milvus.arrangement import Arrangement, Placement
from embed_index.pipeline.milvus.indexes import VectorIndex
from embed_index.schemas.settings import JobSettings


def arrangement_of(settings: JobSettings) -> Arrangement:
    """Return it, not checked against any Milvus."""
    parts = (entry.partition("=") for entry in settings.index_params)
    params = {name: int(value) for name, _, value in parts}
    return Arrangement(
        vectors=VectorIndex(type=settings.index_type, params=params, metric=settings.metric),
        scalars=settings.scalar_indexes,
        placement=Placement(
            mmap=settings.mmap,
            replicas=settings.replicas,
            resource_groups=settings.resource_groups,
        ),
    )
