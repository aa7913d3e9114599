"""Ranges give the file's own bytes, whatever is asked for, in few requests and bounded memory."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_store import HURRIED

from embed_index.pipeline.storage import ranges
from embed_index.pipeline.storage.ranges import MAX_HELD_BYTES, MAX_WINDOW_BYTES, RangeReader
from embed_index.pipeline.storage.requests import Requests

MB = 1 << 20
CONTENT = bytes(range(251)) * 40_000
"""Repeats itself in larger files; larger than any window."""


class CountedFile:
    """A file that keeps what was asked of it, and fails now and then if it is to."""

    def __init__(self, num_bytes: int, *, num_failures: int = 0, short: bool = False) -> None:
        self.num_bytes = num_bytes
        self.asked: list[tuple[int, int]] = []
        self._num_failures = num_failures
        self._short = short

    def read_at(self, num_bytes: int, start: int) -> bytes:
        self.asked.append((start, num_bytes))
        if self._num_failures:
            self._num_failures -= 1
            if self._short:
                return b"x"
            raise OSError("reset")
        begin = start % len(CONTENT)
        return (CONTENT[begin:] + CONTENT)[:num_bytes]

    def reader(self) -> RangeReader:
        return RangeReader(
            self,
            uri="s3://b/c",
            num_bytes=self.num_bytes,
            requests=Requests(HURRIED),
            reopen=lambda: self,
        )


@given(
    st.lists(
        st.tuples(st.integers(0, len(CONTENT)), st.integers(0, 2_000_000)), min_size=1, max_size=30
    )
)
def test_any_reads_give_the_file_s_own_bytes(reads: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        # So small that windows are given up and fetched again.
        patched.setattr(ranges, "MAX_HELD_BYTES", 1 * MB)
        patched.setattr(ranges, "MAX_WINDOW_BYTES", MB // 4)
        reader = RangeReader(
            pa.BufferReader(CONTENT),
            uri="s3://b/c",
            num_bytes=len(CONTENT),
            requests=Requests(HURRIED),
            reopen=lambda: pa.BufferReader(CONTENT),
        )
        for start, wanted in reads:
            num_bytes = min(wanted, len(CONTENT) - start)
            assert reader.read(start, num_bytes) == CONTENT[start : start + num_bytes]


@pytest.mark.parametrize("num_columns", [1, 2, 6])
def test_columns_that_are_read_in_turn_are_few_requests(num_columns: int) -> None:
    file = CountedFile(96 * MB)
    reader, size = file.reader(), 96 // num_columns

    for place in range(size):
        for column in range(num_columns):
            reader.read((column * size + place) * MB, MB)

    fetched = sum(num_bytes for _, num_bytes in file.asked)
    assert len(file.asked) <= 96 / 8 + 6 * num_columns
    assert fetched <= 1.3 * file.num_bytes


def test_many_small_row_groups_are_read_together() -> None:
    file = CountedFile(20 * MB)
    reader = file.reader()

    # Ids and texts of 2,000 row groups; a column between them is not wanted.
    for group in range(2_000):
        reader.read(group * 10_000, 500)
        reader.read(group * 10_000 + 4_000, 6_000)

    assert len(file.asked) < 20


def test_what_is_not_wanted_is_not_fetched() -> None:
    file = CountedFile(1_000 * MB)
    reader = file.reader()

    for group in range(10):
        reader.read(group * 100 * MB, MB)

    assert sum(num_bytes for _, num_bytes in file.asked) == 10 * MB


def test_no_more_is_held_than_may_be() -> None:
    file = CountedFile(400 * MB)
    reader = file.reader()
    held = []

    for place in range(400):
        reader.read(place * MB, MB)
        held.append(sum(window.num_bytes for window in reader._windows.values()))

    assert max(num_bytes for _, num_bytes in file.asked) == MAX_WINDOW_BYTES
    assert MAX_WINDOW_BYTES < max(held) <= MAX_HELD_BYTES


@pytest.mark.parametrize("short", [False, True])
def test_a_range_that_fails_or_ends_early_is_fetched_again(short: bool) -> None:
    file = CountedFile(3 * MB, num_failures=3, short=short)

    assert file.reader().read(100, 2 * MB) == CONTENT[100 : 100 + 2 * MB]
