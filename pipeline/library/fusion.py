"""Two rankings of one query made into one: by meaning and by words.

Their scores have no common scale: cosines lie close together, and BM25 has no upper end. So either
only ranks count, or each ranking's scores are stretched over 0 to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from embed_index.pipeline.milvus.stored import Hit

_RANK_OFFSET = 60
"""Of Cormack, Clarke and Büttcher (2009): how little the first place is above the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each ranking counts."""

    dense: float
    text: float


def fuse(
    dense: Sequence[Hit], text: Sequence[Hit], *, weights: Weights | None, limit: int
) -> list[Hit]:
    """Return the best of two rankings, each hit once, with its new score.

    Args:
        dense: By meaning, the nearest first.
        text: By words, the best first.
        weights: For stretched scores; None for reciprocal ranks.
        limit: Hits wanted.
    """
    if weights is None:
        parts = [_reciprocal(dense), _reciprocal(text)]
    else:
        parts = [_stretched(dense, weights.dense), _stretched(text, weights.text)]
    # Of hits with one score the nearer in meaning comes first, then the better in words.
    found = {hit.chunk.chunk_id: hit for hit in (*dense, *text)}
    scores = {key: sum(part.get(key, 0.0) for part in parts) for key in found}
    best = sorted(found, key=lambda key: -scores[key])[:limit]
    return [replace(found[key], score=scores[key]) for key in best]


def _reciprocal(hits: Sequence[Hit]) -> dict[str, float]:
    return {
        hit.chunk.chunk_id: 1.0 / (_RANK_OFFSET + rank) for rank, hit in enumerate(hits, start=1)
    }


def _stretched(hits: Sequence[Hit], weight: float) -> dict[str, float]:
    if not hits:
        return {}
    best, worst = hits[0].score, hits[-1].score
    width = best - worst
    return {
        hit.chunk.chunk_id: weight * ((hit.score - worst) / width if width > 0 else 1.0)
        for hit in hits
    }
