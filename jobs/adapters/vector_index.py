"""The index that a job wants over its vectors."""

from embed_index.pipeline.milvus.indexes import VectorIndex
from embed_index.schemas.settings import JobSettings


def vector_index(settings: JobSettings) -> VectorIndex:
    """Return it, not checked against any Milvus."""
    parts = (entry.partition("=") for entry in settings.index_params)
    return VectorIndex(
        type=settings.index_type, params={name: int(value) for name, _, value in parts}
    )
