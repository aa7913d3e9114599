"""What a comparison of two sets of vectors says."""

import numpy as np
import pytest

from embed_index.jobs.precision.agreement import (
    Cosines,
    Overlap,
    compare_searches,
    compare_vectors,
)
from embed_index.schemas.records import Vectors


def unit(count: int, *, seed: int, width: int = 32) -> Vectors:
    drawn = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    vectors: Vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return vectors


def test_the_same_vectors_agree_wholly() -> None:
    vectors = unit(3_000, seed=1)

    found = compare_vectors(vectors, vectors)
    assert (found.smallest, found.one_percent, found.median) == pytest.approx((1.0, 1.0, 1.0))
    both = (vectors, vectors)
    assert compare_searches(both, both, among_themselves=True) == Overlap(
        mean=1.0, one_percent=1.0, same_first=1.0
    )


def test_the_smallest_the_hundredth_and_the_median_are_told_apart() -> None:
    cosines = np.linspace(0.9, 1.0, 101)
    first = np.zeros((101, 2), dtype=np.float32)
    first[:, 0] = 1
    second = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)

    found = compare_vectors(first, second)

    assert (found.smallest, found.one_percent, found.median) == pytest.approx((0.9, 0.901, 0.95))
    assert isinstance(found, Cosines)


def test_what_two_searches_share_is_what_a_plain_loop_counts() -> None:
    queries, pool = unit(50, seed=2), unit(400, seed=3)
    others = (unit(50, seed=2) + 0.2 * unit(50, seed=4), pool + 0.2 * unit(400, seed=5))

    shared, first = [], []
    for row in range(50):
        one = np.argsort(-(pool @ queries[row]))[:10].tolist()
        other = np.argsort(-(others[1] @ others[0][row]))[:10].tolist()
        shared.append(len(set(one) & set(other)) / 10)
        first.append(one[0] == other[0])

    found = compare_searches((queries, pool), others, among_themselves=False)
    assert (found.mean, found.same_first) == pytest.approx((np.mean(shared), np.mean(first)))
    assert found.one_percent == pytest.approx(np.quantile(shared, 0.01))
    assert 0.1 < found.mean < 0.95


def test_a_chunk_does_not_find_itself() -> None:
    pair = unit(2, seed=6)

    found = compare_searches((pair, pair), (pair, pair[::-1].copy()), among_themselves=True)

    # Each of two chunks can find only the other.
    assert found == Overlap(mean=1.0, one_percent=1.0, same_first=1.0)
