"""Two rankings of one query become one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_index import Hit, StoredChunk
from embed_index.pipeline.library.fusion import Weights, fuse


def hit(name: str, score: float) -> Hit:
    chunk = StoredChunk(
        chunk_id=name, doc_id=name, chunk_index=0, num_chunks=1, char_start=0, char_end=1,
        num_tokens=1, doc_hash="", text_complete=True, source="", carried={},
    )  # fmt: skip
    return Hit(score=score, version="v", chunk=chunk)


def ranking(names: str) -> list[Hit]:
    return [hit(name, 1.0 / rank) for rank, name in enumerate(names, start=1)]


def names_of(hits: list[Hit]) -> str:
    return "".join(hit.doc_id for hit in hits)


def test_what_is_in_both_rankings_comes_before_what_leads_one() -> None:
    fused = fuse(ranking("abc"), ranking("dbe"), weights=None, limit=10)

    assert names_of(fused) == "badce"
    assert fused[0].score == pytest.approx(2 / 62)
    assert fused[1].score == fused[2].score == pytest.approx(1 / 61)


@pytest.mark.parametrize(
    ("dense", "text", "expected"), [(1.0, 0.0, "abde"), (0.0, 1.0, "deab"), (0.4, 0.6, "daeb")]
)
def test_weights_stretch_the_scores_of_each(dense: float, text: float, expected: str) -> None:
    near = [hit("a", 0.52), hit("b", 0.51)]
    words = [hit("d", 17.0), hit("e", 3.0)]

    fused = fuse(near, words, weights=Weights(dense=dense, text=text), limit=10)

    assert names_of(fused)[0] == expected[0]
    assert [hit.score for hit in fused] == sorted((dense, text, 0.0, 0.0), reverse=True)


def test_a_ranking_of_one_score_counts_in_full_and_an_empty_one_not_at_all() -> None:
    weights = Weights(dense=0.3, text=0.7)

    (only,) = fuse([], [hit("a", 5.0)], weights=weights, limit=10)

    assert only.score == pytest.approx(0.7)
    assert fuse([], [], weights=weights, limit=10) == fuse([], [], weights=None, limit=10) == []


@given(
    names=st.tuples(*[st.lists(st.sampled_from("abcdefgh"), unique=True)] * 2),
    weights=st.sampled_from([None, Weights(dense=1, text=0), Weights(dense=0.5, text=0.5)]),
    limit=st.integers(1, 9),
)
def test_every_hit_comes_once_the_best_first_and_both_orders_are_kept_where_they_agree(
    names: tuple[list[str], list[str]], weights: Weights | None, limit: int
) -> None:
    dense, text = (ranking("".join(part)) for part in names)

    whole = fuse(dense, text, weights=weights, limit=100)

    found = names_of(whole)
    assert sorted(found) == sorted({*names[0], *names[1]})
    assert [h.score for h in whole] == sorted((h.score for h in whole), reverse=True)
    assert names_of(fuse(dense, text, weights=weights, limit=limit)) == found[:limit]
    for first, second in itertools.combinations(names[0], 2):
        if {first, second} <= {*names[1]} and names[1].index(first) < names[1].index(second):
            assert found.index(first) < found.index(second)
