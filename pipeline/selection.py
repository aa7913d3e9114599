"""A run over some documents only."""

from collections.abc import Callable
from dataclasses import dataclass

from embed_index.pipeline.indexing import Source
from embed_index.pipeline.vector_reuse import VectorFinder


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Documents that alone a run is about; the rest of the collection is left as it is."""

    source: Source
    num_documents: int
    """About so many."""
    find_vectors: VectorFinder
    settle: Callable[[int], None]
    """Called with the run's number once all of them are through."""
