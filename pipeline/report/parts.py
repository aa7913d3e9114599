"""What a report's sections are made of; the page's template knows how each is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, TypeAlias

from embed_index.pipeline.report.charts import Chart, Series
from embed_index.pipeline.report.contents import LetterGroup, ReportedQuery
from embed_index.pipeline.report.map import ChunkMap

Tone: TypeAlias = Literal["good", "warn", "bad", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A chart, with what its axis counts and what its colours mean."""

    kind: ClassVar = "drawing"
    chart: Chart
    unit: str
    legend: Sequence[Series] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One of several amounts that are compared."""

    name: str
    value: str
    share: float | None
    """Of what fills the whole width, from 0 to 1; None draws no bar."""
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Amounts under one another."""

    kind: ClassVar = "bars"
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Parts of a whole beside one another, named below."""

    kind: ClassVar = "strip"
    bars: Sequence[Bar]
    """Their shares make one whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and what they are."""

    kind: ClassVar = "facts"
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells, folded away until somebody asks for them."""

    kind: ClassVar = "table"
    summary: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_left: int = 1
    """How many of the first columns are words rather than numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """Dead letters by reason, each with examples."""

    kind: ClassVar = "letters"
    groups: Sequence[LetterGroup]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """Queries that found little, the worst first."""

    kind: ClassVar = "queries"
    queries: Sequence[ReportedQuery]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapView:
    """The map."""

    kind: ClassVar = "map"
    map: ChunkMap
    with_texts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A sentence or two."""

    kind: ClassVar = "note"
    text: str
    commands: Sequence[tuple[str, str]] = ()
    """What to give, and what it does."""


Part: TypeAlias = Drawing | Bars | Strip | Facts | Table | Letters | Queries | MapView | Note


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One card of the page."""

    id: str
    name: str
    """What it is about."""
    title: str
    """What it finds."""
    parts: Sequence[Part]
    is_wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure at the top."""

    name: str
    value: str
    note: str = ""
    tone: Tone = "plain"
    target: str = ""
    """The section that says more; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands first: how fresh the collection is, and how the last run ended."""

    outcome: str
    tone: Tone
    sentence: str
    since: datetime | None
    """When the collection was last in step with its corpus."""
    error: str
    tiles: Sequence[Tile]
