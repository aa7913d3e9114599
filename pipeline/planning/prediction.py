"""What a run is expected to take, what it took, and what the next one learns from that."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from statistics import median
from typing import Self

from embed_index.pipeline.planning.curve import Basis, Curve
from embed_index.pipeline.planning.devices import Device
from embed_index.pipeline.planning.workload import Workload

FORMAT = 1

_MIN_SECONDS = 5.0
"""A run that embedded for less says more about its beginning and end than about the GPU."""
_MAX_RUNS = 8
_START_SECONDS = 30.0
_LOADED_BYTES_PER_SECOND = 1_500e6
"""Of twelve starts on one GPU host: 23 to 32 s with files that had been read before, whatever the
model; 60 s the first time."""
_READ_BYTES_PER_SECOND = 250e6
_REST_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What past runs must have in common with a run to say something about its time."""

    model: str
    """Its shape where that is known, else its name."""
    precision: str
    host: str
    device: str
    num_devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Parts of a run's time, in seconds."""

    start: float
    """Until the servers of the run are ready; 0 where it starts none."""
    embedding: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What one run was expected to take, and what it took: the ledger's figures `prediction`.

    The expectation is that of the time before the run: curve and past runs, with the chunks that
    the run turned out to embed. A plan that reads the whole corpus counts the same chunks.
    """

    format: int = FORMAT
    model: str
    precision: str
    host: str
    device: str
    num_devices: int
    basis: Basis
    num_past_runs: int
    """That corrected the curve."""
    num_chunks: int
    """Sent to the servers, and answered."""
    num_tokens: int
    sum_of_squares: int
    curve_seconds: float
    """Of embedding, by the curve alone; operations / 10^12 where `basis` is `own runs`."""
    expected_start_seconds: float | None
    """None, as the next two, where nothing was known."""
    expected_embedding_seconds: float | None
    expected_total_seconds: float | None
    start_seconds: float
    """What it took: until the servers were ready."""
    embedding_seconds: float
    """While at least one request was at a server."""
    total_seconds: float
    planned_tokens: int | None = None
    """What a plan counted before the run, where a limit asked for one."""

    @property
    def setup(self) -> Setup:
        """What it says something about."""
        return Setup(**{field.name: getattr(self, field.name) for field in fields(Setup)})

    def to_json(self) -> str:
        """Return what the ledger keeps."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, content: str) -> Self | None:
        """Read what the ledger kept; None where another release wrote what is not known here."""
        read = json.loads(content)
        names = {field.name for field in fields(cls)}
        if read.get("format") != FORMAT:
            return None
        return cls(**{name: value for name, value in read.items() if name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What past runs of one setup say: the newest few, by medians in which long ones count more."""

    num_runs: int = 0
    pace: float | None = None
    """Seconds of embedding by those of the curve; None where there is no run to learn from."""
    start_seconds: float | None = None
    rest_seconds: float | None = None
    """What a run takes beside its start and its embedding."""

    @classmethod
    def of(cls, past: Iterable[Prediction], *, setup: Setup) -> Self:
        """Learn from past runs, the newest first."""
        known = [
            run
            for run in past
            if run.setup == setup and run.embedding_seconds >= _MIN_SECONDS and run.curve_seconds
        ][:_MAX_RUNS]
        if not known:
            return cls()
        weights = [run.curve_seconds for run in known]
        rests = (run.total_seconds - run.start_seconds - run.embedding_seconds for run in known)
        return cls(
            num_runs=len(known),
            pace=_median([run.embedding_seconds / run.curve_seconds for run in known], weights),
            start_seconds=median(run.start_seconds for run in known),
            rest_seconds=median(max(0.0, rest) for rest in rests),
        )


def _median(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the value on both sides of which there is at most half of the weight.

    A short night wakes the GPU for little, and must not speak for a long one.
    """
    ordered = sorted(zip(values, weights, strict=True))
    sums = accumulate(weight for _, weight in ordered)
    half = sum(weights) / 2
    return next(value for (value, _), below in zip(ordered, sums, strict=True) if below >= half)


def assumed_start(weight_bytes: int) -> float:
    """Return how long a server of our own takes to start, where no run has shown it yet."""
    return _START_SECONDS + weight_bytes / _LOADED_BYTES_PER_SECOND


def expect(
    work: Workload,
    *,
    curve: Curve,
    device: Device,
    experience: Experience,
    start_seconds: float,
    text_bytes: int = 0,
) -> Expected | None:
    """Return how long a run takes; None where only past runs could tell, and there are none.

    Args:
        work: What it embeds.
        curve: Of one device and the model.
        device: How many there are.
        experience: Of past runs with this setup.
        start_seconds: Of the servers, where no past run has shown it.
        text_bytes: Of the corpus, which is read meanwhile.
    """
    if curve.basis == "own runs" and experience.pace is None:
        return None
    start = embedding = 0.0
    if work.num_chunks:
        start = start_seconds if experience.start_seconds is None else experience.start_seconds
        pace = 1.0 if experience.pace is None else experience.pace
        embedding = pace * curve.seconds(work, count=device.count)
    rest = _REST_SECONDS if experience.rest_seconds is None else experience.rest_seconds
    reading = text_bytes / _READ_BYTES_PER_SECOND
    return Expected(start=start, embedding=embedding, total=rest + max(reading, start + embedding))
