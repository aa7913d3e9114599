"""Words of columns: equal where values are stored alike, and only there."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_index.pipeline.corpus.carried import CarriedRows
from embed_index.pipeline.corpus.text_column import TextColumn
from embed_index.schemas.columns import CarriedColumn, CarriedType

texts = st.one_of(
    st.none(),
    st.text(max_size=9),
    st.text(st.sampled_from("a\x00é"), min_size=58, max_size=70),
)


def unpadded(words: Sequence[np.ndarray]) -> list[tuple[Any, ...]]:
    """Return each row's words, column by column without the zeros at the end."""
    columns = [
        [tuple(np.trim_zeros(row.astype(np.int64), "b").tolist()) for row in column]
        for column in words
    ]
    return list(zip(*columns, strict=True))


def carried(kind: CarriedType, *arrays: pa.Array) -> CarriedRows:
    columns = [CarriedColumn(name=f"c{place}", type=kind) for place in range(len(arrays))]
    return CarriedRows(columns, arrays, num_rows=len(arrays[0]))


@given(values=st.lists(texts), wide=st.booleans(), cut=st.integers(0, 3))
def test_texts_have_equal_words_where_they_are_equal(
    values: list[str | None], wide: bool, cut: int
) -> None:
    kind = pa.large_string() if wide else pa.string()
    found = unpadded([TextColumn(pa.array([*values, *values], kind).slice(cut)).words()])

    wanted = [*values, *values][cut:]
    for value, words in zip(wanted, found, strict=True):
        alone = unpadded([TextColumn(pa.array([value], pa.string())).words()])
        assert alone == [words]
    assert len(set(found)) == len(set(wanted))


def test_bytes_below_nulls_do_not_count() -> None:
    filled = pa.array(["abc", "below", "def"])
    array = pa.Array.from_buffers(pa.string(), 3, [pa.py_buffer(b"\x05"), *filled.buffers()[1:]])

    plain = TextColumn(pa.array(["abc", None, "def"])).words()
    assert unpadded([TextColumn(array).words()]) == unpadded([plain])


ALIKE = [
    ("integer", pa.array([1, -2, 0], pa.int8()), pa.array([1, -2, 0], pa.int64())),
    ("integer", pa.array([7, 7], pa.uint32()), pa.array([7, 7]).dictionary_encode()),
    ("number", pa.array([0.5, -1.0], pa.float32()), pa.array([0.5, -1.0], pa.float64())),
    ("number", pa.array([0.5, None], pa.float16()), pa.array([0.5, None], pa.float64())),
    ("text", pa.array(["a", "é"]), pa.array(["a", "é"], pa.large_string())),
    ("text", pa.array(["a", "é"]), pa.array(["a", "é"]).dictionary_encode()),
    ("text", pa.array(["a", "é"]), pa.array(["a", "é"], pa.string_view())),
]


@pytest.mark.parametrize(("kind", "one", "other"), ALIKE, ids=str)
def test_a_value_has_its_words_however_it_is_laid_out(
    kind: CarriedType, one: pa.Array, other: pa.Array
) -> None:
    assert unpadded(list(carried(kind, one).words())) == unpadded(
        list(carried(kind, other).words())
    )


MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COLUMNS: list[tuple[CarriedType, pa.Array]] = [
    ("integer", pa.array([0, 1, None, 2**62, -(2**62), 2**32], pa.int64())),
    ("number", pa.array([0.0, -0.0, 1.0, None, 1e300, 5e-324])),
    ("boolean", pa.array([True, False, None])),
    ("text", pa.array([MOMENT, None], pa.timestamp("us", "UTC"))),
    ("text", pa.array([MOMENT, None], pa.timestamp("s", "UTC"))),
    ("text", pa.array([MOMENT.replace(tzinfo=None), None], pa.timestamp("ns"))),
    ("text", pa.array([date(2026, 1, 2), date(1, 1, 1), date(9999, 12, 31), None])),
    ("text", pa.array([date(2026, 1, 2), None], pa.date64())),
    ("text", pa.nulls(2)),
]


@pytest.mark.parametrize(("kind", "array"), COLUMNS, ids=str)
def test_values_with_other_hashes_have_other_words(kind: CarriedType, array: pa.Array) -> None:
    rows = carried(kind, array)
    words = unpadded(list(rows.words()))

    assert rows.errors() == {}
    assert len(set(words)) >= len(set(rows.hashes))
    by_words = dict(zip(words, rows.hashes, strict=True))
    assert [by_words[row] for row in words] == rows.hashes


def test_instants_of_two_types_are_not_taken_for_one_another() -> None:
    kinds = [pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("s", "UTC"), pa.date64()]
    arrays = [pa.array([5], pa.int64()).view(kind) for kind in kinds]

    found = {unpadded(list(carried("text", array).words()))[0] for array in arrays}

    assert len(found) == len(kinds)


def test_values_of_two_columns_are_kept_apart() -> None:
    one = carried("text", pa.array(["a"]), pa.array(["bc"]))
    other = carried("text", pa.array(["ab"]), pa.array(["c"]))

    assert unpadded(list(one.words())) != unpadded(list(other.words()))
