"""How Milvus keeps the rows of a version: all that can change while they stay as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from embed_index.pipeline.milvus.capabilities import MilvusTarget
from embed_index.pipeline.milvus.indexes import (
    DEFAULT_INDEX,
    MadeIndex,
    VectorIndex,
    check_index,
)
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """What a job wants."""

    vectors: VectorIndex = DEFAULT_INDEX
    scalars: tuple[str, ...] = ()
    """The carried columns that filters find rows by quickly."""

    def __str__(self) -> str:
        return _spelt(self.vectors, self.scalars)

    def check(self, target: MilvusTarget, *, carried: Sequence[CarriedColumn]) -> None:
        """Refuse what the target cannot do, or what is not carried.

        Raises:
            ConfigurationError: It is.
        """
        check_index(self.vectors, embedded=target.embedded)
        columns = {column.name: column for column in carried}
        for name in self.scalars:
            if name not in columns:
                raise ConfigurationError(
                    f"scalar_indexes: {name!r} is no carried column"
                    f"; they are {', '.join(columns) or 'none'}",
                    remedy="Correct the name, or carry the column.",
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

    def __str__(self) -> str:
        return _spelt(self.vectors or "no index", tuple(self.scalars))

    def as_wanted(self) -> Arrangement:
        """Return what it is made again with."""
        vectors = DEFAULT_INDEX if self.vectors is None else self.vectors.as_wanted()
        return Arrangement(vectors=vectors, scalars=tuple(self.scalars))

    def changes_to(self, wanted: Arrangement, *, embedded: bool) -> "Changes":
        """Return what is to be done, so that it is what is wanted."""
        made = self.vectors
        return Changes(
            vectors=None
            if made is not None and made.is_(wanted.vectors, embedded=embedded)
            else wanted.vectors,
            make=tuple(name for name in wanted.scalars if name not in self.scalars),
            drop=tuple(name for name in self.scalars if name not in wanted.scalars),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What keeps one arrangement from being another."""

    vectors: VectorIndex | None
    """What they are indexed as, which takes by far the longest; None where that stays."""
    make: tuple[str, ...]
    """Carried columns to index."""
    drop: tuple[str, ...]
    """Carried columns whose index goes."""

    def __bool__(self) -> bool:
        return self.vectors is not None or bool(self.make or self.drop)

    def __str__(self) -> str:
        said = []
        if self.vectors is not None:
            said.append(f"the vectors are indexed anew as {self.vectors}")
        if self.make:
            said.append(f"{', '.join(self.make)} indexed for filters")
        if self.drop:
            said.append(f"{', '.join(self.drop)} no longer")
        return ", ".join(said)


def _spelt(vectors: object, scalars: Sequence[str]) -> str:
    return f"{vectors}, and over {', '.join(scalars)}" if scalars else f"{vectors}"
