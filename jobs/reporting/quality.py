"""What evaluations found, as a report tells it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from embed_index.pipeline.evaluation.measures import NDCG
from embed_index.pipeline.evaluation.quality import Quality
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.report import words
from embed_index.pipeline.report.contents import ReportedQuality, ReportedQuery

_MAX_SETS = 200
_MAX_SHOWN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLook:
    """What evaluations of a collection found."""

    quality: tuple[ReportedQuality, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    worst: tuple[ReportedQuery, ...] = ()


def look_at_quality(ledger: Ledger, *, with_texts: bool) -> QualityLook:
    """Return the newest evaluation, and those before it that asked the same."""
    kept = [
        (figures, Quality.from_json(figures.content))
        for figures in ledger.figures.latest(kind="quality", max_sets=_MAX_SETS)
    ]
    if not kept:
        return QualityLook()
    _, newest = kept[0]
    told = []
    for figures, found in kept:
        if found.fingerprint == newest.fingerprint:
            estimate = found.measured[0].values[NDCG]
            told.append(
                ReportedQuality(
                    version=figures.version,
                    at=figures.recorded_at,
                    num_queries=found.num_queries,
                    ndcg=estimate.mean,
                    low=estimate.low,
                    high=estimate.high,
                    is_held=found.verdict == "held",
                )
            )
    worst = tuple(
        ReportedQuery(text=q.text, ndcg=q.ndcg, expected=q.expected, found=q.found)
        for q in newest.worst
    )
    return QualityLook(
        quality=tuple(told[:_MAX_SHOWN]),
        facts=dict(_facts(newest)),
        worst=worst if with_texts else (),
    )


def _facts(found: Quality) -> Iterator[tuple[str, str]]:
    for name, estimate in found.measured[0].values.items():
        if name != NDCG:
            yield name, f"{estimate.mean:.3f}"
    for one in found.measured[1:]:
        width = f" at {one.dimension}" if one.dimension else ""
        yield f"{NDCG}, {one.mode}{width}", f"{one.values[NDCG].mean:.3f}"
    if found.ann_recall is not None:
        yield "the index finds of the nearest", words.share(found.ann_recall)
    if found.latency is not None:
        yield (
            "one search, p50 and p99",
            f"{found.latency.p50_ms:.1f} and {found.latency.p99_ms:.1f} ms",
        )
