"""A run as metrics in Prometheus' text format, for the textfile collector of node_exporter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from embed_index.schemas.summary import RunCounters

_PREFIX = "embed_index"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMetrics:
    """What monitoring wants to know once a run is over, however it ended."""

    collection: str
    milvus: str
    """Where it is; collections of one name in two Milvus have values of their own."""
    finished_at: datetime
    last_success_at: datetime | None
    """None for never, as far as is known."""
    exit_code: int
    counters: RunCounters
    num_documents: int
    """That the collection holds, by the ledger."""
    num_chunks: int
    num_open_dead_letters: int
    ndcg: float | None = None
    """nDCG@10 of the version last written to, as its runs found last; None for never."""
    judged_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metric:
    name: str
    help: str
    samples: Mapping[str, float]
    """By the value of the label `outcome`; one without that label has the key ``."""


def render_metrics(metrics: RunMetrics) -> str:
    """Return the exposition, every metric with its help and type."""
    label = f'collection="{_escaped(metrics.collection)}",milvus="{_escaped(metrics.milvus)}"'
    return "".join(_render(metric, label) for metric in _metrics(metrics))


def _metrics(metrics: RunMetrics) -> Sequence[_Metric]:
    counters = metrics.counters
    success = metrics.last_success_at
    documents = {
        name: getattr(counters, f"num_{name}")
        for name in ("new", "changed", "unchanged", "refreshed", "deleted", "missing", "repeated")
    }
    return (
        _single(
            "last_run_timestamp_seconds",
            "When the last run ended, however it ended.",
            metrics.finished_at.timestamp(),
        ),
        _single(
            "last_success_timestamp_seconds",
            "When the collection was last brought in step with the corpus; 0 for never.",
            success.timestamp() if success else 0.0,
        ),
        _single(
            "last_run_exit_code", "Exit code of the last run; 0 is success.", metrics.exit_code
        ),
        _single(
            "last_run_duration_seconds", "Wall time of the last run.", round(counters.seconds, 3)
        ),
        _Metric(
            name="last_run_documents",
            help="Documents of the last run by what became of them.",
            samples=documents,
        ),
        _Metric(
            name="last_run_chunks",
            help="Chunks that the last run embedded, or wrote with vectors that were there.",
            samples={
                "embedded": counters.num_chunks_embedded,
                "reused": counters.num_chunks_reused,
            },
        ),
        _Metric(
            name="last_run_tokens",
            help="Tokens that the last run embedded, or did not have to.",
            samples={"embedded": counters.num_tokens, "saved": counters.num_tokens_saved},
        ),
        _single(
            "last_run_tokens_per_second",
            "Tokens embedded a second, over the whole last run.",
            round(counters.tokens_per_second, 3),
        ),
        _single(
            "last_run_dead_letters",
            "Rows and documents that the last run could not index.",
            counters.num_dead_letters,
        ),
        _single(
            "last_run_skipped_files",
            "Files that the last run could not read to their end.",
            counters.num_files_skipped,
        ),
        _single("documents", "Documents in the version last written to.", metrics.num_documents),
        _single("chunks", "Chunks of those documents.", metrics.num_chunks),
        _single(
            "open_dead_letters",
            "Dead letters of that version that are not mended.",
            metrics.num_open_dead_letters,
        ),
        *_quality(metrics),
    )


def _quality(metrics: RunMetrics) -> Sequence[_Metric]:
    """Return what is known of the quality; what nobody looked at has no value."""
    if metrics.ndcg is None or metrics.judged_at is None:
        return ()
    return (
        _single(
            "quality_ndcg_at_10",
            "nDCG@10 of that version over the job's own queries.",
            round(metrics.ndcg, 6),
        ),
        _single(
            "quality_timestamp_seconds",
            "When that was measured.",
            metrics.judged_at.timestamp(),
        ),
    )


def _single(name: str, text: str, value: float) -> _Metric:
    return _Metric(name=name, help=text, samples={"": value})


def _render(metric: _Metric, label: str) -> str:
    name = f"{_PREFIX}_{metric.name}"
    lines = [f"# HELP {name} {metric.help}", f"# TYPE {name} gauge"]
    for outcome, value in metric.samples.items():
        labels = f'{label},outcome="{outcome}"' if outcome else label
        lines.append(f"{name}{{{labels}}} {value!r}")
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
