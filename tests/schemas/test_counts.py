"""Counts as people write them."""

import pytest

from embed_index.schemas.counts import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1_200, "1,200 files")]
)
def test_one_is_not_called_several(number: int, words: str) -> None:
    assert counted(number, "file") == words
