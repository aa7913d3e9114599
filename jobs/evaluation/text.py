"""Writes what an evaluation found, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from embed_index.jobs.collections.text import snippet
from embed_index.jobs.evaluation.evaluation import Evaluation
from embed_index.pipeline.evaluation.comparison import FoundDocument, VersionComparison
from embed_index.pipeline.evaluation.measures import NDCG
from embed_index.pipeline.evaluation.quality import Latency, Measured, Quality, WorstQuery
from embed_index.pipeline.evaluation.statistics import Estimate
from embed_index.schemas.counts import counted

_NUM_LEFT_COLUMNS = 1
_SURE = 0.05


def evaluation_as_text(evaluation: Evaluation) -> str:
    """Return what was asked, a table of what was measured, and what finds least."""
    quality, comparison = evaluation.quality, evaluation.comparison
    parts = [
        _facts(evaluation),
        _table(quality.measured),
        *evaluation.notes,
        _worst_as_text(quality.worst) if comparison is None else _comparison_as_text(comparison),
    ]
    return "\n\n".join(part for part in parts if part)


def evaluation_as_json(evaluation: Evaluation) -> str:
    """Return one JSON object."""
    return json.dumps(asdict(evaluation), ensure_ascii=False, indent=2)


def _facts(evaluation: Evaluation) -> str:
    quality = evaluation.quality
    facts = [
        ("version", evaluation.version),
        ("queries", f"{quality.num_queries:,} of {quality.source}"),
    ]
    if quality.ann_recall is not None:
        facts.append(("index", f"finds {quality.ann_recall:.2%} of the ten nearest chunks"))
    timed = [
        f"{name} {_latency_as_text(latency)}"
        for name, latency in (("search", quality.latency), ("embedding", quality.embedding))
        if latency is not None
    ]
    if timed:
        facts.append(("latency", "; ".join(timed)))
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in facts)


def _latency_as_text(latency: Latency) -> str:
    return f"p50 {latency.p50_ms:.1f} ms, p99 {latency.p99_ms:.1f} ms ({latency.num_searches:,})"


def _table(measured: Sequence[Measured]) -> str:
    """Return a line a way to search; the interval holds with 95 % confidence."""
    names = list(measured[0].values)
    head = ("search", "dimension", NDCG, "95 %", *names[1:])
    lines = [head]
    for way in measured:
        first, *others = way.values.values()
        lines.append(
            (
                f"{way.mode}, exact" if way.exact else way.mode,
                str(way.dimension or "-"),
                f"{first.mean:.4f}",
                _interval(first),
                *(f"{other.mean:.4f}" for other in others),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < _NUM_LEFT_COLUMNS else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _interval(estimate: Estimate) -> str:
    return f"{estimate.low:.3f} to {estimate.high:.3f}"


def _worst_as_text(worst: Sequence[WorstQuery]) -> str:
    if not worst:
        return "every query finds what answers it, and in the right order"
    lines = [f"what finds least, by {NDCG}:"]
    for query in worst:
        found = ", ".join(query.found[:3]) or "nothing"
        expected = ", ".join(query.expected[:3])
        lines.append(f"{query.ndcg:.4f}  {query.query_id}: {snippet(query.text)}")
        lines.append(f"        wanted {snippet(expected)}; found {snippet(found)}")
    return "\n".join(lines)


def _comparison_as_text(comparison: VersionComparison) -> str:
    paired = comparison.paired
    verdict = (
        "chance alone would hardly make it"
        if paired.p_value < _SURE
        else "chance alone may well make it"
    )
    lines = [
        (
            f"against {comparison.against}: {NDCG} {comparison.ndcg:.4f} and"
            f" {comparison.ndcg_against:.4f}; {paired.wins:,} queries better,"
            f" {paired.losses:,} worse, {paired.ties:,} the same"
        ),
        (
            f"difference {paired.difference.mean:+.4f} (95 %: {paired.difference.low:+.4f} to"
            f" {paired.difference.high:+.4f}), p = {paired.p_value:.4f}: {verdict}"
        ),
    ]
    if comparison.worst:
        lines.append("\nwhat lost most:")
    for query in comparison.worst:
        lines += [
            (
                f"{query.ndcg_against:.4f} -> {query.ndcg:.4f}  {query.query_id}:"
                f" {snippet(query.text)}"
            ),
            f"    wanted {_document(query.expected)}",
            f"    found  {_document(query.found)}",
        ]
    return "\n".join(lines)


def _document(document: FoundDocument | None) -> str:
    if document is None:
        return "nothing"
    return f"{snippet(document.doc_id)}: {snippet(document.text)}"


def quality_in_words(quality: Quality) -> str:
    """Return what history and notices say of a quality: one figure."""
    return f"{NDCG} {quality.ndcg:.4f} of {counted(quality.num_queries, 'query')}"
