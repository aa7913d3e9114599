"""How a run got on: its pace, and what its time went into."""

import itertools

from embed_index.pipeline.report import words
from embed_index.pipeline.report.charts import Row, rate_within_run
from embed_index.pipeline.report.contents import ReportContents
from embed_index.pipeline.report.pace import Pace, PacePoint, Phase
from embed_index.pipeline.report.parts import Bar, Drawing, Note, Part, Section, Strip

_MAX_BARS = 80
_UNITS = ((5400.0, 3600.0, "h"), (150.0, 60.0, "min"), (0.0, 1.0, "s"))
_PHASES: tuple[tuple[Phase, str, str], ...] = (
    ("reading", "reading, nothing to embed yet", "var(--c5)"),
    ("starting", "servers starting", "var(--c3)"),
    ("embedding", "embedding", "var(--c1)"),
    ("server_idle", "servers without work", "var(--c4)"),
    ("finishing", "writing and settling", "var(--c6)"),
)


def pace_section(contents: ReportContents) -> Section | None:
    """Return the pace of the last run that embedded anything."""
    pace, run = contents.pace, contents.pace_run
    if pace is None or run is None or len(pace.points) < 2:
        return None
    served = pace.server_seconds
    num_tokens = pace.points[-1].num_tokens
    rate = num_tokens / served if served else run.counters.tokens_per_second
    title = f"{words.short(rate)} tokens/s while there was something to embed"
    if served >= 1:
        busy = pace.phase_seconds.get("embedding", 0.0) / served
        title = (
            f"{words.short(rate)} tokens/s; the servers had work {words.share(busy)} of the time"
        )
    parts: list[Part] = [*_drawing(pace, title), _phases(pace, run.counters.seconds)]
    last = contents.runs[0]
    if last.id != run.id:
        parts.append(
            Note(
                text=f"The run of {words.moment(run.started_at)}; none since has embedded anything."
            )
        )
    return Section(id="pace", name="Pace within the run", title=title, parts=parts)


def _drawing(pace: Pace, label: str) -> list[Drawing]:
    points = _thinned(pace.points)
    end = points[-1].seconds
    divisor, unit = next((d, name) for least, d, name in _UNITS if end >= least)
    rows: list[Row] = []
    for earlier, later in itertools.pairwise(points):
        seconds = later.seconds - earlier.seconds
        if seconds <= 0:
            continue
        rate = (later.num_tokens - earlier.num_tokens) / seconds
        documents = later.num_documents - earlier.num_documents
        rows.append(
            {
                "start": earlier.seconds / divisor,
                "end": later.seconds / divisor,
                "rate": rate,
                "words": f"{words.span(earlier.seconds)} to {words.span(later.seconds)}:"
                f" {words.count(rate)} tokens/s, {words.some(documents, 'document')} settled",
            }
        )
    if not any(row["rate"] for row in rows):
        return []
    chart = rate_within_run(rows, end=end / divisor, unit=unit, label=label)
    return [Drawing(chart=chart, unit="tokens a second")]


def _thinned(points: tuple[PacePoint, ...]) -> list[PacePoint]:
    """Return the run's beginning, and no more points than there is room for."""
    step = -(-len(points) // _MAX_BARS)
    kept = [PacePoint(0.0, 0, 0), *points[:-1][step - 1 :: step], points[-1]]
    return [point for place, point in enumerate(kept) if not place or point.seconds > 0]


def _phases(pace: Pace, whole: float) -> Strip:
    told = sum(pace.phase_seconds.values())
    parts = [("starting up", max(whole - told, 0.0), "var(--quiet)")]
    parts += [(name, pace.phase_seconds.get(key, 0.0), colour) for key, name, colour in _PHASES]
    total = sum(seconds for _, seconds, _ in parts) or 1.0
    return Strip(
        bars=[
            Bar(
                name=name,
                value=f"{words.span(seconds)}, {words.share(seconds / total)}",
                share=seconds / total,
                colour=colour,
            )
            for name, seconds, colour in parts
            if seconds >= total / 1000
        ]
    )
