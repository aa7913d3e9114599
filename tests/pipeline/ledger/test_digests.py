"""Digests of documents: equal where the documents are, whatever stands around them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_index.pipeline.ledger.digests import DocumentDigester
from embed_index.schemas.records import Words

SEED = bytes(range(32))

word = st.integers(0, 2**32 - 1)
rows = st.lists(st.tuples(word, word, word), min_size=1, max_size=20)


def columns(values: list[tuple[int, int, int]], *, num_zeros: int = 0) -> list[Words]:
    words = np.array(values, dtype=np.uint64)
    return [np.pad(words[:, :2], ((0, 0), (0, num_zeros))), words[:, 2:]]


def as_defined(row: tuple[int, int, int], digester: DocumentDigester) -> tuple[int, ...]:
    """Give the four sums of a row in Python's own integers."""
    first, second = (digester._numbers(column, count=2 - column).tolist() for column in (0, 1))
    numbers = (*first, *second)
    sums = (sum(x * n[part] for x, n in zip(row, numbers, strict=True)) for part in range(4))
    return tuple(total % 2**64 >> 32 for total in sums)


@given(values=rows, num_zeros=st.integers(0, 30))
def test_a_row_has_one_digest_wherever_it_stands(
    values: list[tuple[int, int, int]], num_zeros: int
) -> None:
    digester = DocumentDigester(SEED)

    together = digester.digest(columns(values, num_zeros=num_zeros))

    for row, digest in zip(values, together, strict=True):
        alone = DocumentDigester(SEED).digest(columns([row]))
        assert alone.tolist() == [digest.tolist()]
        assert tuple(digest.view("<u4").tolist()) == as_defined(row, digester)


@given(values=rows)
def test_other_rows_have_other_digests(values: list[tuple[int, int, int]]) -> None:
    digests = DocumentDigester(SEED).digest(columns(values))

    assert len({tuple(digest) for digest in digests.tolist()}) == len(set(values))


@pytest.mark.parametrize("seed", [b"", SEED[:-1], SEED[::-1]])
def test_another_seed_gives_other_digests(seed: bytes) -> None:
    row = columns([(1, 2, 3)])

    assert (DocumentDigester(seed).digest(row) != DocumentDigester(SEED).digest(row)).all()


def test_words_are_told_apart_by_their_column() -> None:
    digester = DocumentDigester(SEED)
    one, other = np.array([[1, 2]], dtype=np.uint64), np.array([[2, 1]], dtype=np.uint64)

    assert digester.digest([one, other]).tolist() != digester.digest([other, one]).tolist()
