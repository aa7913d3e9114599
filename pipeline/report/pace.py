"""How fast a run got on and what it did meanwhile, in a bounded number of points."""

import json
import time
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

Phase: TypeAlias = Literal["reading", "starting", "embedding", "server_idle", "finishing"]
"""What a run does at a moment: `reading` before anything is to be embedded, `starting` while the
servers start, `embedding` while a request is under way, `server_idle` while the servers stand and
none is, `finishing` once the last vector is there."""

PHASES: tuple[Phase, ...] = get_args(Phase)

MAX_POINTS = 240
_FIRST_STEP_SECONDS = 0.5


class PacePoint(NamedTuple):
    """How far a run was at a moment."""

    seconds: float
    """Since the run began."""
    num_tokens: int
    """Embedded until then."""
    num_documents: int
    """Settled until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A run's pace as it is kept."""

    points: tuple[PacePoint, ...]
    """In order; counts only grow."""
    phase_seconds: dict[Phase, float]
    """How long the run was in each phase."""

    @property
    def server_seconds(self) -> float:
        """How long servers stood that there was something left to embed for."""
        return self.phase_seconds.get("embedding", 0) + self.phase_seconds.get("server_idle", 0)

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        points = [[round(p.seconds, 2), p.num_tokens, p.num_documents] for p in self.points]
        phases = {name: round(seconds, 2) for name, seconds in self.phase_seconds.items()}
        return json.dumps({"points": points, "phase_seconds": phases})


def read_pace(content: str) -> Pace:
    """Read a pace that this or an older release wrote; phases that nobody knows are left out."""
    stored = json.loads(content)
    phases = stored.get("phase_seconds", {})
    return Pace(
        points=tuple(PacePoint(*point) for point in stored["points"]),
        phase_seconds={name: phases[name] for name in PHASES if name in phases},
    )


class PhaseClock:
    """Counts how long a run is in each phase; it stands until the first one begins."""

    def __init__(self) -> None:
        self._seconds: dict[Phase, float] = {}
        self._phase: Phase | None = None
        self._since = 0.0

    def enter(self, phase: Phase) -> None:
        """Begin a phase, which ends the one before."""
        self._seconds = self.seconds()
        self._phase, self._since = phase, time.monotonic()

    def seconds(self) -> dict[Phase, float]:
        """Return the seconds of each phase that there was, up to now."""
        seconds = dict(self._seconds)
        if self._phase is not None:
            passed = time.monotonic() - self._since
            seconds[self._phase] = seconds.get(self._phase, 0.0) + passed
        return seconds


class PaceRecorder:
    """Keeps a run's pace: evenly spaced points, half of them dropped whenever there are too many.

    So memory and the stored figures are bounded, however long the night is.
    """

    def __init__(self, *, max_points: int = MAX_POINTS) -> None:
        self.phases = PhaseClock()
        self._max_points = max_points
        self._points: list[PacePoint] = []
        self._step = _FIRST_STEP_SECONDS

    def see(self, point: PacePoint) -> None:
        """Take note of how far the run is; more often than needed does no harm."""
        if self._points and point.seconds < self._points[-1].seconds + self._step:
            return
        self._points.append(point)
        if len(self._points) > self._max_points:
            del self._points[1::2]
            self._step *= 2

    def pace(self, end: PacePoint) -> Pace:
        """Return the pace of a run that ends here."""
        points = [point for point in self._points if point.seconds < end.seconds]
        return Pace(points=(*points, end), phase_seconds=self.phases.seconds())
