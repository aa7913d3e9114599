"""The page that a comparison of precisions ends with, for people and for programs."""

import json
from dataclasses import asdict

from embed_index.jobs.precision.comparison import Comparison
from embed_index.schemas.counts import counted, hundredths

_WORTH_IT = 1.1
"""A tenth of the time is about what two runs of one job differ by on a busy host."""
_SAME_DIRECTION = 0.99
_SAME_HITS = 0.9
_SECONDS_PER_HOUR = 3_600.0


def as_text(comparison: Comparison, *, price: float | None) -> str:
    """Return one page: what was compared, quality, speed, and what to do.

    Args:
        comparison: What was measured.
        price: Of an hour of the GPU, in whatever currency; None leaves money out.
    """
    was, might_be = comparison.precisions
    sample, cosines, overlap = comparison.sample, comparison.cosines, comparison.overlap
    slow, fast = comparison.tokens_per_second
    hours, faster_hours = _hours(comparison)
    who = counted(comparison.num_queries, "query") if comparison.num_queries else "each chunk"
    chunks = (
        f"{counted(len(sample.chunks), 'chunk')} of {counted(sample.num_documents, 'document')}"
    )
    agreement = (
        f"smallest {cosines.smallest:.4f}, 1 % {cosines.one_percent:.4f},"
        f" median {cosines.median:.4f} ({might_be} to {was})"
    )
    nearest = (
        f"{overlap.mean:.1%} the same on average, 1 % of searches {overlap.one_percent:.0%} or"
        f" less; the first hit in {overlap.same_first:.1%} ({who} searching)"
    )
    speed = f"{slow:,.0f} in {was}, {fast:,.0f} in {might_be}: {_speedup(comparison):.2f} times"
    saving = (
        f"some {sample.corpus_tokens:,.0f} tokens: {hundredths(hours)} GPU hours in {was},"
        f" {hundredths(faster_hours)} in {might_be}, {hundredths(hours - faster_hours)} saved"
    )
    lines = [
        ("model", f"{comparison.model} at {comparison.dimension} dimensions"),
        ("on", comparison.device),
        ("sample", chunks),
        ("cosine", agreement),
        ("10 nearest", nearest),
        ("tokens/s", speed),
        ("whole corpus", saving),
    ]
    if price is not None:
        saved = (hours - faster_hours) * price
        lines.append(("money", f"{hundredths(saved)} saved, at {price:,.2f} an hour"))
    lines.append(("recommended", " ".join(_recommendation(comparison))))
    return "\n".join(f"{name:<12}  {text}" for name, text in lines)


def as_json(comparison: Comparison, *, price: float | None) -> str:
    """Return one JSON object."""
    sample, hours = comparison.sample, _hours(comparison)
    recommended, reason = _recommendation(comparison)
    facts = asdict(comparison) | {
        "sample": {
            "num_chunks": len(sample.chunks),
            "num_documents": sample.num_documents,
            "corpus_tokens": round(sample.corpus_tokens),
        },
        "speedup": round(_speedup(comparison), 4),
        "gpu_hours": hours,
        "money_saved": None if price is None else (hours[0] - hours[1]) * price,
        "recommended": recommended.removesuffix(":"),
        "reason": reason,
    }
    return json.dumps(facts, ensure_ascii=False, indent=2)


def _speedup(comparison: Comparison) -> float:
    was, might_be = comparison.tokens_per_second
    return might_be / was


def _hours(comparison: Comparison) -> tuple[float, float]:
    was, might_be = comparison.tokens_per_second
    seconds = comparison.sample.corpus_tokens
    return seconds / was / _SECONDS_PER_HOUR, seconds / might_be / _SECONDS_PER_HOUR


def _recommendation(comparison: Comparison) -> tuple[str, str]:
    """Return the precision to take, and why."""
    was, might_be = comparison.precisions
    if _speedup(comparison) < _WORTH_IT:
        return f"{was}:", (
            f"{might_be} is {_speedup(comparison):.2f} times as fast here, and less exact for it."
        )
    if comparison.cosines.one_percent < _SAME_DIRECTION or comparison.overlap.mean < _SAME_HITS:
        return f"{was}:", (
            f"{might_be} is {_speedup(comparison):.2f} times as fast, and finds other things: it"
            f" takes {_SAME_HITS:.0%} of the nearest the same, and {_SAME_DIRECTION} of cosine in"
            " all but 1 %. Where labelled queries say that what it finds is as good, take it."
        )
    return f"{might_be}:", (
        f"{_speedup(comparison):.2f} times as fast, and it finds what {was} finds. Fill a new"
        f' version with dtype = "{might_be}" and --rebuild, rather than mix the two.'
    )
