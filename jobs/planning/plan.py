"""The plan of a run: every figure that the page shows, and the fields of its JSON."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from embed_index.pipeline.planning.counting import DocumentCounts
from embed_index.pipeline.planning.curve import Basis
from embed_index.pipeline.planning.sampling import CONFIDENCE, Estimate
from embed_index.pipeline.planning.storage import Storage

FORMAT = 1

Obstacle: TypeAlias = Literal["", "no fp8", "too small", "unknown"]
"""None; it has no fp8 arithmetic, or no room for the weights; nothing is known of its speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTime:
    """How long the run takes on one kind of device."""

    device: str
    count: int
    is_here: bool
    """Whether this is what the job would use on this host."""
    precision: str
    basis: Basis
    how: str
    """Where the figure comes from, in words."""
    obstacle: Obstacle = ""
    num_past_runs: int = 0
    """That corrected the curve."""
    pace: float | None = None
    """By which they did; over 1 is slower than the curve."""
    start_seconds: float | None = None
    """None, as all that follow, where nothing is known or there is an obstacle."""
    is_start_assumed: bool = True
    embedding_seconds: Estimate | None = None
    total_seconds: Estimate | None = None
    gpu_hours: float | None = None
    """Of all GPUs, for the whole run; 0 where it embeds nothing, None on a CPU."""
    cost: float | None = None
    """At the job's price; None without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthBin:
    """Chunks of about one length."""

    min_tokens: int
    max_tokens: int
    num_chunks: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How a run would fail, in its own words."""

    exit_code: int
    message: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do; errors are of the sample, and 0 where all was counted."""

    format: int = FORMAT
    collection: str
    compared_with: str | None
    """The version that the ledger has; None where everything counts as new."""
    rebuilds: bool
    """Whether this is the plan of a rebuild: it was asked for, or nothing else would be done."""
    is_contract_known: bool
    """Whether the ledger knows how the live version was made; without one there is nothing."""
    model: str
    dimension: int
    max_tokens: int
    num_files: int
    num_rows: int
    """That the files say to hold; more than were read under a limit."""
    documents: DocumentCounts
    num_sampled: int | None
    """Documents that were cut; None for all that are new or changed."""
    confidence: float = CONFIDENCE
    """With which the truth is within an error."""
    chunks: Estimate
    """To embed, as the next."""
    tokens: Estimate
    kept_chunks: Estimate
    """Of changed documents, whose vectors need not be made again."""
    kept_tokens: Estimate
    chunk_lengths: tuple[LengthBin, ...]
    """Of the chunks to embed; empty bins at both ends are left out."""
    deletes_missing: bool
    refusals: tuple[Refusal, ...]
    """In the order in which a run meets them; empty where it would go well, as far as it shows."""
    storage: Storage
    times: tuple[DeviceTime, ...]
    """This host's first."""
    price_per_gpu_hour: float | None
    planning_seconds: float
    """What it took to plan."""

    @property
    def here(self) -> DeviceTime:
        """On this host."""
        return next(time for time in self.times if time.is_here)
