"""Writes runs and a collection's state, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from embed_index.jobs.runs.history import CollectionStatus, PastRun, VersionCounts
from embed_index.pipeline.evaluation.measures import NDCG
from embed_index.pipeline.evaluation.quality import Quality
from embed_index.schemas.counts import counted
from embed_index.schemas.moments import in_words
from embed_index.schemas.summary import RunCounters

_HEAD = (
    "started",
    "outcome",
    "new",
    "changed",
    "unchanged",
    "refreshed",
    "deleted",
    "tokens",
    "saved",
    "seconds",
    "expected",
    "tokens/s",
    "exit",
)
_NUM_LEFT_COLUMNS = 2
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def history_as_text(runs: Sequence[PastRun]) -> str:
    """Return a table, one line a run under one of headings; times are this host's."""
    lines = [_HEAD, *map(_cells, runs)]
    if any(run.quality is not None for run in runs):
        judged = [f"{run.quality.ndcg:.4f}" if run.quality else "-" for run in runs]
        lines = [(*line, cell) for line, cell in zip(lines, (NDCG, *judged), strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [_aligned(line, widths) for line in lines]
    if any(run.reason for run in runs):
        # Of any length, and so the last.
        reasons = ("reason", *(run.reason for run in runs))
        table = [f"{line}  {text}".rstrip() for line, text in zip(table, reasons, strict=True)]
    return "\n".join(table)


def history_as_json(runs: Sequence[PastRun]) -> str:
    """Return a JSON list."""
    return json.dumps([_run_as_fields(run) for run in runs], indent=2)


def status_as_text(status: CollectionStatus) -> str:
    """Return one fact a line."""
    holder, complete = status.holder, status.last_complete
    fresh = "never brought in step here"
    ended = None if complete is None else complete.record.finished_at
    if complete is not None and ended is not None:
        ago = _span((status.asked_at - ended).total_seconds())
        letters = complete.record.counters.num_dead_letters
        but = f" but for {counted(letters, 'dead letter')}" if letters else ""
        fresh = f"in step {ago} ago, at {in_words(ended)} ({complete.record.version}){but}"
    facts = [
        ("collection", status.collection),
        ("running", "no" if holder is None else _words(status)),
        ("freshness", fresh),
        ("last run", "none" if status.last_run is None else _run_as_text(status.last_run)),
        *((version.name, _version_as_text(version)) for version in status.versions),
    ]
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in facts)


def status_as_json(status: CollectionStatus) -> str:
    """Return one JSON object."""
    return json.dumps(
        {
            "collection": status.collection,
            "running": None if status.holder is None else asdict(status.holder),
            "fresh_seconds": status.fresh_seconds,
            "last_run": status.last_run and _run_as_fields(status.last_run),
            "last_success": status.last_success and _run_as_fields(status.last_success),
            "versions": [
                {
                    "name": version.name,
                    **asdict(version.counts),
                    "num_dead_letters": version.num_dead_letters,
                    "was_live": version.was_live,
                }
                for version in status.versions
            ],
        },
        indent=2,
    )


def _run_as_fields(run: PastRun) -> dict[str, object]:
    record = run.record
    return {
        "id": record.id,
        "version": record.version,
        "started_at": record.started_at.isoformat(),
        "finished_at": record.finished_at and record.finished_at.isoformat(),
        "outcome": run.outcome,
        "exit_code": record.exit_code,
        "error": record.error,
        **asdict(record.origin),
        **asdict(record.counters),
        "tokens_per_second": round(record.counters.tokens_per_second, 1),
        "prediction": None if run.prediction is None else asdict(run.prediction),
        "quality": None if run.quality is None else _quality_as_fields(run.quality),
    }


def _quality_as_fields(quality: Quality) -> dict[str, object]:
    means = {name: estimate.mean for name, estimate in quality.measured[0].values.items()}
    return {
        "num_queries": quality.num_queries,
        **means,
        "verdict": quality.verdict,
        "reason": quality.reason,
    }


def _cells(run: PastRun) -> tuple[str, ...]:
    counters = run.record.counters
    numbers = (
        counters.num_new,
        counters.num_changed,
        counters.num_unchanged,
        counters.num_refreshed,
        counters.num_deleted,
        counters.num_tokens,
        counters.num_tokens_saved,
    )
    code = run.record.exit_code
    expected = None if run.prediction is None else run.prediction.expected_total_seconds
    return (
        in_words(run.record.started_at),
        run.outcome + _but(counters),
        *(f"{number:,}" for number in numbers),
        f"{counters.seconds:,.1f}",
        "-" if expected is None else f"{expected:,.1f}",
        f"{counters.tokens_per_second:,.0f}",
        "-" if code is None else str(code),
    )


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if place < _NUM_LEFT_COLUMNS else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _run_as_text(run: PastRun) -> str:
    record = run.record
    code = "" if record.exit_code is None else f", exit code {record.exit_code}"
    error = f": {run.reason}" if run.reason else ""
    return f"{in_words(record.started_at)}, {run.outcome}{_but(record.counters)}{code}{error}"


def _but(counters: RunCounters) -> str:
    skipped = counters.num_files_skipped
    return f" but for {counted(skipped, 'file')}" if skipped else ""


def _words(status: CollectionStatus) -> str:
    last = status.last_run
    if last is None or last.outcome != "running":
        return str(status.holder)
    return f"{status.holder}, {counted(last.record.counters.num_documents_done, 'document')} done"


def _version_as_text(version: VersionCounts) -> str:
    counts = version.counts
    parts = [counted(counts.num_documents - counts.num_pending, "document")]
    parts.append(counted(counts.num_chunks, "chunk"))
    if counts.num_pending:
        parts.append(f"{counted(counts.num_pending, 'document')} pending")
    if version.num_dead_letters:
        parts.append(counted(version.num_dead_letters, "dead letter"))
    if not version.was_live:
        parts.append("not finished")
    return ", ".join(parts)


def _span(seconds: float) -> str:
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"
