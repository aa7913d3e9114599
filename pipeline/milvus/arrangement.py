"""How Milvus keeps the rows of a version: all that can change while they stay as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from embed_index.pipeline.milvus.capabilities import MilvusTarget
from embed_index.pipeline.milvus.indexes import (
    DEFAULT_INDEX,
    MadeIndex,
    VectorIndex,
    check_index,
)
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.errors import ConfigurationError

_MMAP = "mmap.enabled"
_REPLICAS = "collection.replica.number"
_GROUPS = "collection.resource_groups"
DEFAULT_GROUP = "__default_resource_group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a version is while it can be searched."""

    mmap: bool = False
    """Whether files are mapped into memory, rather than read into it."""
    replicas: int = 1
    resource_groups: tuple[str, ...] = ()
    """Of query nodes; empty for the default one."""

    @classmethod
    def read(cls, properties: Mapping[str, Any]) -> Self:
        """Read the properties of a collection."""
        groups = str(properties.get(_GROUPS, "") or DEFAULT_GROUP)
        return cls(
            mmap=str(properties.get(_MMAP)).lower() == "true",
            replicas=int(properties.get(_REPLICAS) or 1),
            resource_groups=() if groups == DEFAULT_GROUP else tuple(groups.split(",")),
        )

    def properties(self) -> dict[str, str]:
        """Return it as properties of a collection; servers from 2.5 on heed them by themselves."""
        return {
            _MMAP: "true" if self.mmap else "false",
            _REPLICAS: str(self.replicas),
            _GROUPS: ",".join(self.resource_groups or (DEFAULT_GROUP,)),
        }

    def is_(self, other: "Placement") -> bool:
        """Tell whether another is the same, with the default group named or not."""
        return self.properties() == other.properties()

    def load_options(self) -> dict[str, Any]:
        """Return with what a collection is loaded."""
        groups = {"resource_groups": list(self.resource_groups)} if self.resource_groups else {}
        return {"replica_number": self.replicas, **groups} if self.replicas > 1 else groups

    def said(self) -> list[str]:
        """Return it in words, as far as it is not what is usual."""
        return [
            *(("mmap",) if self.mmap else ()),
            *((f"{self.replicas} replicas",) if self.replicas > 1 else ()),
            *((f"in {', '.join(self.resource_groups)}",) if self.resource_groups else ()),
        ]

    def check(self, target: MilvusTarget) -> None:
        """Refuse what the target cannot do.

        Raises:
            ConfigurationError: It cannot.
        """
        if self.mmap:
            target.require("mmap", setting="mmap")
        if self.replicas > 1:
            target.require("replicas", setting="replicas")
        if self.resource_groups:
            target.require("replicas", setting="resource_groups")

    def check_nodes(self, nodes: Mapping[str, int], *, uri: str) -> None:
        """Refuse resource groups that do not exist, or that have too few query nodes.

        Args:
            nodes: How many each resource group has.
            uri: Of the Milvus.

        Raises:
            ConfigurationError: They are not fit.
        """
        each = self.replicas if len(self.resource_groups) < 2 else 1
        for group in self.resource_groups or (DEFAULT_GROUP,):
            if group not in nodes:
                raise ConfigurationError(
                    f"resource_groups: Milvus at {uri} has no {group!r}; it has {', '.join(nodes)}",
                    remedy="Correct the name, or create the group in Milvus.",
                )
            if nodes[group] < each:
                raise ConfigurationError(
                    f"replicas: Milvus at {uri} has {nodes[group]} query nodes in {group!r}, and"
                    f" {self.replicas} replicas need {each} there",
                    remedy="Start more query nodes, or set fewer replicas.",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """What a job wants."""

    vectors: VectorIndex = DEFAULT_INDEX
    scalars: tuple[str, ...] = ()
    """The carried columns that filters find rows by quickly."""
    placement: Placement = Placement()

    def __str__(self) -> str:
        return _spelt(self.vectors, self.scalars, self.placement)

    def check(self, target: MilvusTarget, *, carried: Sequence[CarriedColumn]) -> None:
        """Refuse what the target cannot do, or what is not carried.

        Raises:
            ConfigurationError: It is.
        """
        check_index(self.vectors, embedded=target.embedded)
        self.placement.check(target)
        columns = {column.name: column for column in carried}
        for name in self.scalars:
            if name not in columns:
                raise ConfigurationError(
                    f"scalar_indexes: {name!r} is no carried column"
                    f"; they are {', '.join(columns) or 'none'}",
                    remedy="Correct the name, or carry the column.",
                )
            if columns[name].is_structured:
                raise ConfigurationError(
                    f"scalar_indexes: {name!r} has parts, over which no index is made",
                    remedy="Leave it out; filters work without, such as array_contains.",
                )
            if columns[name].type == "boolean":
                target.require("boolean_index", setting=f"scalar_indexes of {name!r}")


DEFAULT_ARRANGEMENT = Arrangement()


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeArrangement:
    """What a version has."""

    vectors: MadeIndex | None
    scalars: Mapping[str, str] = field(default_factory=dict)
    """By carried column, the name of the index over it."""
    placement: Placement = Placement()

    def __str__(self) -> str:
        return _spelt(self.vectors or "no index", tuple(self.scalars), self.placement)

    def as_wanted(self) -> Arrangement:
        """Return what it is made again with."""
        vectors = DEFAULT_INDEX if self.vectors is None else self.vectors.as_wanted()
        return Arrangement(vectors=vectors, scalars=tuple(self.scalars), placement=self.placement)

    def changes_to(self, wanted: Arrangement, *, embedded: bool) -> "Changes":
        """Return what is to be done, so that it is what is wanted."""
        made = self.vectors
        return Changes(
            vectors=None
            if made is not None and made.is_(wanted.vectors, embedded=embedded)
            else wanted.vectors,
            make=tuple(name for name in wanted.scalars if name not in self.scalars),
            drop=tuple(name for name in self.scalars if name not in wanted.scalars),
            placement=None if self.placement.is_(wanted.placement) else wanted.placement,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What keeps one arrangement from being another."""

    vectors: VectorIndex | None = None
    """What they are indexed as, which takes by far the longest; None where that stays."""
    make: tuple[str, ...] = ()
    """Carried columns to index."""
    drop: tuple[str, ...] = ()
    """Carried columns whose index goes."""
    placement: Placement | None = None
    """None where it stays."""

    def __bool__(self) -> bool:
        return self != Changes()

    def __str__(self) -> str:
        said = []
        if self.vectors is not None:
            said.append(f"the vectors are indexed anew as {self.vectors}")
        if self.make:
            said.append(f"{', '.join(self.make)} indexed for filters")
        if self.drop:
            said.append(f"{', '.join(self.drop)} no longer")
        if self.placement is not None:
            how = ", ".join(self.placement.said()) or "once, into memory"
            said.append(f"all is loaded anew ({how})")
        return ", ".join(said)


def _spelt(vectors: object, scalars: Sequence[str], placement: Placement) -> str:
    over = [f"and over {', '.join(scalars)}"] if scalars else []
    return ", ".join([str(vectors), *over, *placement.said()])
