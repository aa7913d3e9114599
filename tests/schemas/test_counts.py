"""Counts and amounts as people write them."""

import pytest

from embed_index.schemas.counts import counted, hundredths


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (0, "file", "0 files"),
        (1, "file", "1 file"),
        (2, "file", "2 files"),
        (1_200, "file", "1,200 files"),
        (1, "query", "1 query"),
        (2, "query", "2 queries"),
    ],
)
def test_one_is_not_called_several(number: int, noun: str, words: str) -> None:
    assert counted(number, noun) == words


@pytest.mark.parametrize(
    ("amount", "words"),
    [(-0.004, "0.00"), (0.004, "0.00"), (-0.006, "-0.01"), (1234.5, "1,234.50"), (-0.0, "0.00")],
)
def test_what_rounds_to_nothing_has_no_sign(amount: float, words: str) -> None:
    assert hundredths(amount) == words
