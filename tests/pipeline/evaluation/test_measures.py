"""Measures agree with a hand-computed example, and with definitions written down independently."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from embed_index.pipeline.evaluation.labels import LabelledQuery
from embed_index.pipeline.evaluation.measures import score

NUM_RUNS = 200


def query(grades: dict[str, int]) -> LabelledQuery:
    return LabelledQuery(id="q", text="text", grades=grades)


def test_a_ranking_is_worth_what_it_is_on_paper() -> None:
    """Found: d2 (grade 1), x (unjudged), d1 (grade 3), d4 (judged to be useless).

    DCG 1/log2(2) + 3/log2(4) = 2.5; ideal 3/log2(2) + 2/log2(3) + 1/log2(4) = 4.7619.
    """
    judged = query({"d1": 3, "d2": 1, "d3": 2, "d4": 0, "d5": -2})

    values = score([judged], [["d2", "x", "d1", "d4"]], recall_at=(1, 10))

    assert {name: round(float(value[0]), 6) for name, value in values.items()} == {
        "nDCG@10": round(2.5 / (3 + 2 / math.log2(3) + 0.5), 6),
        "recall@1": round(1 / 3, 6),
        "recall@10": round(2 / 3, 6),
        "MRR@10": 1.0,
        "hit@10": 1.0,
        "judged@10": 0.75,
    }


def test_a_query_that_found_nothing_counts_as_zero() -> None:
    values = score([query({"a": 1}), query({"b": 1})], [["a"], []])

    assert values["nDCG@10"].tolist() == [1.0, 0.0]
    assert score([query({"a": 1})], [[]])["hit@10"].tolist() == [0.0]


def test_ids_may_hold_whatever_they_like() -> None:
    odd = ["a b", "a\0b", "ü\n", ""]

    values = score([query(dict.fromkeys(odd, 1))], [odd])

    assert values["recall@10"].tolist() == [1.0]


def naive(grades: dict[str, int], ranking: Sequence[str], *, k: int) -> dict[str, float]:
    """The measures as textbooks have them."""
    gains = [max(grades.get(doc_id, 0), 0) for doc_id in ranking]
    ideal = sorted((max(grade, 0) for grade in grades.values()), reverse=True)
    dcg, best = (
        sum(gain / math.log2(rank + 2) for rank, gain in enumerate(ranked[:10]))
        for ranked in (gains, ideal)
    )
    first = next((rank for rank, gain in enumerate(gains[:10], start=1) if gain), None)
    num_relevant = sum(gain > 0 for gain in ideal)
    return {
        "nDCG@10": dcg / best,
        f"recall@{k}": sum(gain > 0 for gain in gains[:k]) / num_relevant,
        "MRR@10": 1 / first if first else 0.0,
        "hit@10": float(first is not None),
        "judged@10": sum(doc_id in grades for doc_id in ranking[:10]) / max(len(ranking[:10]), 1),
    }


@pytest.mark.parametrize("seed", range(5))
def test_random_runs_agree_with_the_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(NUM_RUNS // 5):
        documents = [f"d{n}" for n in range(int(rng.integers(3, 60)))]
        queries, rankings = [], []
        for _ in range(5):
            judged = rng.permutation(documents)[: int(rng.integers(1, len(documents)))]
            grades = {str(doc_id): int(rng.integers(-1, 4)) for doc_id in judged}
            grades[str(judged[0])] = 2
            queries.append(query(grades))
            num_found = int(rng.integers(1, len(documents)))
            rankings.append([str(doc_id) for doc_id in rng.permutation(documents)[:num_found]])
        k = int(rng.integers(1, 40))

        values = score(queries, rankings, recall_at=(k,))

        for place, (asked, ranking) in enumerate(zip(queries, rankings, strict=True)):
            for name, expected in naive(dict(asked.grades), ranking, k=k).items():
                assert values[name][place] == pytest.approx(expected, abs=1e-6), name
