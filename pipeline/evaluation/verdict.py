"""Whether a version is good enough, by a job's limits."""

from dataclasses import dataclass

from embed_index.pipeline.evaluation.quality import Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """What a job asks of its collection; None asks nothing."""

    min_ndcg: float | None
    max_drop: float | None
    """Of nDCG@10, against what is or was live."""


def find_shortfall(
    quality: Quality, *, before: Quality | None, limits: QualityLimits, against: str
) -> str:
    """Say where a version falls short of limits; empty where it does not.

    Args:
        quality: Of the version.
        before: Of what it is compared with, for the same queries; None where there is nothing.
        limits: The job's.
        against: What it is compared with, in words.
    """
    ndcg = quality.ndcg
    if limits.min_ndcg is not None and ndcg < limits.min_ndcg:
        return f"its nDCG@10 is {ndcg:.4f}, below min_ndcg {limits.min_ndcg:g}"
    if limits.max_drop is None or before is None:
        return ""
    drop = before.ndcg - ndcg
    if drop <= limits.max_drop:
        return ""
    return (
        f"its nDCG@10 is {ndcg:.4f}, {drop:.4f} below the {before.ndcg:.4f} of {against}, and"
        f" max_drop is {limits.max_drop:g}"
    )
