"""What is seen as one character is not parted."""

import pytest

from embed_index.pipeline.model.graphemes import joins

WHOLE = [
    "e\u0301",
    "e\u0323\u0301",
    "\r\n",
    "\u1112\u1161\u11ab",
    "\uac00\u11ab",
    "\ua960\uac00",
    "👩\u200d👩\u200d👧",
    "👍\U0001f3fd",
    "🇨🇭",
    "1\ufe0f\u20e3",
    "🏴\U000e0067\U000e0062\U000e007f",
    "\u0915\u094d\u0937",
    "\u0915\u094d\u200d\u0937\u093f",
    "\u0e01\u0e33",
    "\u0600\u0661",
    "\uff76\uff9e",
]


@pytest.mark.parametrize("cluster", WHOLE)
def test_a_cluster_has_no_border_within(cluster: str) -> None:
    text = f"a{cluster}b"

    assert all(joins(text, place) for place in range(2, len(cluster) + 1))


@pytest.mark.parametrize("first", [x for x in WHOLE if x != "\u0600\u0661"])
@pytest.mark.parametrize("second", ["a", "汉", "🇩🇪", "\n", "👩"])
def test_there_is_a_border_behind_a_cluster(first: str, second: str) -> None:
    assert not joins(first + second, len(first))


def test_syllables_of_jamo_are_parted() -> None:
    text = "\u1112\u1161\u11ab" * 3

    assert [place for place in range(1, 9) if not joins(text, place)] == [3, 6]


def test_a_mark_behind_a_line_feed_stands_alone() -> None:
    assert not joins("\n\u0301", 1)


def test_flags_are_parted_by_pairs() -> None:
    text = "🇨🇭" * 3

    assert [joins(text, place) for place in range(1, 6)] == [True, False, True, False, True]
