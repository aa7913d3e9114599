"""The index over the vectors: which kinds there are, how they are made, and how they are searched.

Milvus Lite takes any name for an index and fails when it loads the collection, and a server gives
its reasons only once it has rows. So what a target has is known here, and asked before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.indexes import IndexType, Metric

_USUAL_METRIC = "COSINE"
_MAX_SEARCHED = 16_384
_MIN_SEARCHED = 128
_SEARCHED_PER_HIT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """One kind of index."""

    name: str
    """As Milvus spells it."""
    embedded: bool
    """Whether Milvus Lite has it."""
    defaults: Mapping[str, int] = field(default_factory=dict)
    """Parameters that it is made with, and the only ones that it takes."""


_KINDS: Mapping[IndexType, _Kind] = {
    "auto": _Kind(name="AUTOINDEX", embedded=True),
    "flat": _Kind(name="FLAT", embedded=True),
    "hnsw": _Kind(name="HNSW", embedded=True, defaults={"M": 16, "efConstruction": 200}),
    "ivf_flat": _Kind(name="IVF_FLAT", embedded=True, defaults={"nlist": 1024}),
    "ivf_sq8": _Kind(name="IVF_SQ8", embedded=True, defaults={"nlist": 1024}),
    "diskann": _Kind(name="DISKANN", embedded=False),
}


_RANGES: Mapping[str, tuple[int, int]] = {
    "M": (2, 2048),
    "efConstruction": (1, 100_000),
    "nlist": (1, 65_536),
}
"""What Milvus takes; its own upper bound of the second would never end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorIndex:
    """How the vectors of a collection are indexed."""

    type: IndexType = "auto"
    params: Mapping[str, int] = field(default_factory=dict)
    """What differs from the kind's defaults."""
    metric: Metric = "cosine"
    """By which they are compared; unit vectors give the same order and the same scores."""

    def milvus_type(self, *, embedded: bool) -> str:
        """Return the type as Milvus spells it."""
        # Milvus Lite's graph loses rows where many are alike, and is not faster than a full scan.
        return "FLAT" if embedded and self.type == "auto" else _KINDS[self.type].name

    def __str__(self) -> str:
        return _spelt(self.type, self.params, metric=self.milvus_metric)

    @property
    def milvus_metric(self) -> str:
        """The metric as Milvus spells it."""
        return self.metric.upper()

    @property
    def build_params(self) -> dict[str, int]:
        """What it is made with."""
        return {**_KINDS[self.type].defaults, **self.params}


DEFAULT_INDEX = VectorIndex()


def _spelt(name: str, params: Mapping[str, int], *, metric: str) -> str:
    said = [f"{key} {value}" for key, value in params.items()]
    listed = ", ".join(said if metric == _USUAL_METRIC else [*said, f"metric {metric}"])
    return f"{name} ({listed})" if listed else name


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeIndex:
    """An index that a collection has."""

    milvus_type: str
    params: Mapping[str, int]
    """What it was made with, as far as Milvus says and it is known here."""
    metric: str = _USUAL_METRIC
    """As Milvus spells it."""

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> Self:
        """Read Milvus' description of it."""
        kind = str(described["index_type"])
        known = {name for entry in _KINDS.values() for name in entry.defaults}
        params = {name: int(described[name]) for name in sorted(known & described.keys())}
        metric = str(described.get("metric_type", _USUAL_METRIC))
        return cls(milvus_type=kind, params=params, metric=metric)

    def __str__(self) -> str:
        return _spelt(self.milvus_type, self.params, metric=self.metric)

    def is_(self, index: VectorIndex, *, embedded: bool) -> bool:
        """Tell whether it is the one that is wanted, as far as Milvus says."""
        made = (self.milvus_type, self.metric)
        if made != (index.milvus_type(embedded=embedded), index.milvus_metric):
            return False
        # Milvus Lite does not say what an index was made with; of its own choice a server may.
        if embedded or index.type == "auto":
            return not index.params
        return self.params == index.build_params

    def as_wanted(self) -> VectorIndex:
        """Return what it is made again with."""
        metric: Metric = "ip" if self.metric == "IP" else "cosine"
        for name, kind in _KINDS.items():
            if kind.name == self.milvus_type:
                return VectorIndex(type=name, params=self.params, metric=metric)
        return VectorIndex(metric=metric)

    def search_params(self, *, limit: int) -> dict[str, int]:
        """Return how far it is searched for so many hits."""
        return search_params(self.milvus_type, self.params, limit=limit)


def check_index(index: VectorIndex, *, embedded: bool) -> None:
    """Refuse an index that the target does not have, or a parameter that the kind does not take.

    Raises:
        ConfigurationError: It cannot be made.
    """
    kind = _KINDS[index.type]
    if embedded and not kind.embedded:
        raise ConfigurationError(
            f"index_type: Milvus Lite has no {index.type}",
            remedy="Use auto, or a Milvus server.",
        )
    for name, value in index.params.items():
        if name not in kind.defaults:
            takes = ", ".join(kind.defaults) or "none"
            raise ConfigurationError(
                f"index_params: {index.type} takes no {name}; it takes {takes}",
                remedy="Correct it, or leave it out.",
            )
        low, high = _RANGES[name]
        if not low <= value <= high:
            raise ConfigurationError(
                f"index_params: {name} is {value:,}, and must be from {low:,} to {high:,}",
                remedy="Correct it.",
            )


def search_params(milvus_type: str, params: Mapping[str, Any], *, limit: int) -> dict[str, int]:
    """Return how far an index is searched for so many hits.

    Milvus' own defaults look at too little of an IVF index, and hardly further than the hits in a
    graph.

    Args:
        milvus_type: As Milvus spells it; of one that is not known here nothing is asked.
        params: What it was made with, as Milvus tells it.
        limit: Hits wanted.
    """
    wide = min(max(limit * _SEARCHED_PER_HIT, _MIN_SEARCHED), _MAX_SEARCHED)
    if milvus_type == "HNSW":
        return {"ef": max(wide, limit)}
    if milvus_type.startswith("IVF_"):
        return {"nprobe": max(int(params.get("nlist", 1024)) // 16, 16)}
    if milvus_type == "DISKANN":
        return {"search_list": max(wide, limit)}
    return {}
