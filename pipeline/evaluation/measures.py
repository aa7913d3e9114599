"""What a ranking is worth, query by query, by trec_eval's own definitions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.evaluation.labels import LabelledQuery
from embed_index.schemas.errors import ConfigurationError

NDCG = "nDCG@10"
CUTOFF = 10
JUDGED = "judged@10"
"""Share of the first ten that anybody judged: where it is low, the others say little."""

Values = Mapping[str, NDArray[np.float64]]
"""By measure, a value for each query in its order."""


def check_library() -> None:
    """Refuse to evaluate where what measures is not installed.

    Raises:
        ConfigurationError: It is not.
    """
    try:
        import ir_measures  # noqa: F401
        import pytrec_eval  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"{error.name} is not installed, which measures how good rankings are",
            remedy="Install the extra: pip install '.[eval]' in the folder of embed-index.",
        ) from error


def names_of(recall_at: Sequence[int]) -> tuple[str, ...]:
    """Return what is measured, in the order of tables."""
    recalls = tuple(f"recall@{cutoff}" for cutoff in recall_at)
    return (NDCG, *recalls, f"MRR@{CUTOFF}", f"hit@{CUTOFF}", JUDGED)


def score(
    queries: Sequence[LabelledQuery],
    rankings: Sequence[Sequence[str]],
    *,
    recall_at: Sequence[int] = (10, 100),
) -> Values:
    """Measure rankings of documents.

    A query that found nothing counts as 0. Grades below 0 count as 0, as in trec_eval.

    Args:
        queries: Each with a document that answers it.
        rankings: What each query found, the best first, each document once.
        recall_at: For how many documents recall is measured.

    Raises:
        ConfigurationError: The extra `eval` is not installed.
    """
    check_library()
    import ir_measures
    from ir_measures import RR, Judged, R, Success, nDCG

    by_name: dict[str, Any] = {NDCG: nDCG @ CUTOFF}
    by_name |= {f"recall@{cutoff}": R @ cutoff for cutoff in recall_at}
    by_name |= {
        f"MRR@{CUTOFF}": RR @ CUTOFF,
        f"hit@{CUTOFF}": Success @ CUTOFF,
        JUDGED: Judged @ CUTOFF,
    }
    # Ids of our own: those of others may hold whatever C takes for an end.
    places: dict[str, str] = {}
    qrels = {
        str(place): {
            places.setdefault(doc_id, str(len(places))): max(grade, 0)
            for doc_id, grade in query.grades.items()
        }
        for place, query in enumerate(queries)
    }
    # Ties are broken otherwise from measure to measure, so that scores are made of the ranks.
    run = {
        str(place): {
            places.setdefault(doc_id, str(len(places))): float(len(ranking) - rank)
            for rank, doc_id in enumerate(ranking)
        }
        for place, ranking in enumerate(rankings)
        if ranking
    }
    values = {name: np.zeros(len(queries)) for name in by_name}
    if not run:
        return values
    name_of = {measure: name for name, measure in by_name.items()}
    for metric in ir_measures.iter_calc(list(by_name.values()), qrels, run):
        values[name_of[metric.measure]][int(metric.query_id)] = metric.value
    return values
