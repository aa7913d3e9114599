"""Exact search over a stream: the same as sorting everything, whatever the order and the steps."""

import numpy as np
import pytest

from embed_index.pipeline.evaluation.exact import ExactSearch, cut
from embed_index.schemas.records import Vectors

DEPTH = 7


def unit(rng: np.random.Generator, rows: int, width: int) -> Vectors:
    return cut(rng.standard_normal((rows, width)).astype(np.float32), dimension=width)


@pytest.mark.parametrize("step", [1, 7, 64, 500])
@pytest.mark.parametrize("seed", [0, 1])
def test_documents_are_ranked_by_their_best_chunk_at_every_width(step: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, chunks = unit(rng, 9, 32), unit(rng, 500, 32)
    owners = [f"d{n}" for n in rng.integers(0, 60, size=500)]
    exact = ExactSearch(queries, dimensions=(32, 8), depth=DEPTH)

    for start in range(0, 500, step):
        exact.add(owners[start : start + step], chunks[start : start + step])

    for width in (32, 8):
        scores = cut(queries, dimension=width) @ cut(chunks, dimension=width).T
        for found, row in zip(exact.rankings(width), scores, strict=True):
            best: dict[str, float] = {}
            for owner, value in zip(owners, row, strict=True):
                best[owner] = max(best.get(owner, -2.0), float(value))
            expected = sorted(best, key=lambda owner: -best[owner])[:DEPTH]
            assert list(found) == expected


def test_fewer_documents_than_wanted_are_all_of_them() -> None:
    rng = np.random.default_rng(3)
    exact = ExactSearch(unit(rng, 2, 8), dimensions=(8,), depth=50)

    exact.add(["a", "b", "a"], unit(rng, 3, 8))

    assert [set(found) for found in exact.rankings(8)] == [{"a", "b"}] * 2


def test_a_cut_vector_has_unit_length_unless_nothing_is_left_of_it() -> None:
    vectors = np.asarray([[3, 4, 12], [0, 0, 5]], dtype=np.float32)

    expected = np.asarray([[0.6, 0.8], [0.0, 0.0]], dtype=np.float32)
    np.testing.assert_array_almost_equal(cut(vectors, dimension=2), expected)


def test_what_an_index_overlooks_shows_and_an_equal_chunk_counts() -> None:
    rng = np.random.default_rng(4)
    queries, chunks = unit(rng, 3, 16), unit(rng, 200, 16)
    exact = ExactSearch(queries, dimensions=(16,), depth=DEPTH)
    exact.add([str(n) for n in range(200)], chunks)
    scores = -np.sort(-(queries @ chunks.T), axis=1)

    perfect = exact.share_found(scores[:, :10].tolist())
    lossy = exact.share_found([row[2:12].tolist() for row in scores])
    tied = exact.share_found([[row[0]] * 10 for row in scores.tolist()])

    assert perfect.tolist() == [1.0] * 3
    assert lossy.tolist() == pytest.approx([0.8] * 3)
    assert tied.tolist() == [1.0] * 3
