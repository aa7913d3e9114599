"""What a report says, before it is a page: facts that ledger and collection gave."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from embed_index.pipeline.report.map import ChunkMap
from embed_index.pipeline.report.pace import Pace
from embed_index.schemas.summary import RunCounters


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRun:
    """One run of the history."""

    id: int
    version: str
    started_at: datetime
    finished_at: datetime | None
    """None while it runs, and for a run that died."""
    outcome: str
    """As `history` tells it: `done`, `failed`, `died`, ..."""
    exit_code: int | None
    error: str
    """Empty for none, and where texts are left out."""
    counters: RunCounters


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterExample:
    """One open dead letter."""

    doc_id: str
    """Empty where the row has none."""
    place: str
    detail: str
    attempts: int
    first_seen: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterGroup:
    """The open dead letters of one reason."""

    reason: str
    num_letters: int
    examples: tuple[LetterExample, ...]
    """The first few; none where texts are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """Something that takes up room."""

    name: str
    num_bytes: int
    basis: Literal["measured", "computed", "estimated"]
    """A file's size; counts times widths; or a sample's mean times a count."""
    where: Literal["milvus", "disk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long chunks are, by a sample."""

    num_tokens: tuple[int, ...]
    """Of each chunk of the sample."""
    max_tokens: int
    """The longest that the contract allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedQuality:
    """What one evaluation of a version found."""

    version: str
    at: datetime
    num_queries: int
    ndcg: float
    low: float
    high: float
    """Ends of the interval of 95 % confidence."""
    is_held: bool
    """Whether the version therefore did not go live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedQuery:
    """A query that found little of what answers it."""

    text: str
    ndcg: float
    expected: tuple[str, ...]
    """Document ids, the best first."""
    found: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedPrediction:
    """What a run was expected to take, and what it took."""

    at: datetime
    expected_seconds: float
    taken_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContents:
    """Everything that the page shows; what is None or empty is not drawn."""

    collection: str
    version: str
    """That searches see or, where Milvus was not asked, that was last written to."""
    made_at: datetime
    runs: tuple[ReportedRun, ...]
    """Newest first, no more than the page shows."""
    last_success: ReportedRun | None
    num_documents: int
    num_chunks: int
    num_pending: int
    """Documents that an unfinished run began."""
    pace: Pace | None
    """Of the last run that embedded anything."""
    pace_run: ReportedRun | None
    letters: tuple[LetterGroup, ...]
    stored: tuple[StoredPart, ...]
    quality: tuple[ReportedQuality, ...] = ()
    """Of evaluations that asked the same, newest first."""
    quality_facts: Mapping[str, str] = field(default_factory=dict)
    """What else the newest one found."""
    worst: tuple[ReportedQuery, ...] = ()
    predictions: tuple[ReportedPrediction, ...] = ()
    """Newest first."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """The contract in words, in the order shown."""
    lengths: Lengths | None = None
    map: ChunkMap | None = None
    unreachable: str = ""
    """Why the collection itself could not be looked at; empty where it was."""
    with_texts: bool = True
