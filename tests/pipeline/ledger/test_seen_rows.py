import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embed_index.pipeline.ledger.seen_rows import SeenRows


@given(batches=st.lists(st.lists(st.integers(1, 40_000), max_size=20), max_size=8))
def test_seen_rows_behave_as_a_set(batches: list[list[int]]) -> None:
    rows, model = SeenRows(), set[int]()
    for batch in batches:
        first = rows.add(np.array(batch, dtype=np.int64))
        for row, is_first in zip(batch, first.tolist(), strict=True):
            assert is_first == (row not in model)
            model.add(row)
        assert len(rows) == len(model)
    everything = np.arange(1, 50_000, dtype=np.int64)
    assert set(everything[rows.contains(everything)].tolist()) == model
