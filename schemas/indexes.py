"""Indexes over the vectors of a collection, as settings name them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

IndexType: TypeAlias = Literal["auto", "flat", "hnsw", "ivf_flat", "ivf_sq8", "diskann"]
Metric: TypeAlias = Literal["cosine", "ip"]
"""Not Euclidean distance: it is smallest for the nearest, and every reader takes a score for large
where it is good."""
VectorType: TypeAlias = Literal["float32", "float16", "bfloat16"]
BYTES_PER_NUMBER: Mapping[VectorType, int] = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reindexed:
    """What became of a version's indexes."""

    version: str
    before: str
    """As Milvus spells them."""
    now: str
    changed: bool
    seconds: float
