import base64
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from embed_index.pipeline.embedding.wire import (
    MalformedReplyError,
    UnusableVectorError,
    decode_reply,
    encode_request,
    normalise,
    reply_width,
)
from embed_index.schemas.records import Vectors

FINITE = st.floats(-(2.0**60), 2.0**60, width=32).filter(lambda x: abs(x) > 1e-9)
MATRICES = npst.arrays(
    np.float32, npst.array_shapes(min_dims=2, max_dims=2, max_side=16), elements=FINITE
)


def in_base64(vector: Vectors) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def reply_of(entries: list[Any]) -> bytes:
    return orjson.dumps({"data": entries})


@given(MATRICES)
def test_normalised_rows_have_unit_length_and_keep_their_direction(matrix: Vectors) -> None:
    unit = normalise(matrix)

    assert unit.dtype == np.float32
    wide = matrix.astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(unit.astype(np.float64), axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(unit, wide / np.linalg.norm(wide, axis=1)[:, None], atol=1e-6)


@given(MATRICES, st.data())
def test_one_bad_number_anywhere_makes_the_vectors_unusable(
    matrix: Vectors, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, matrix.shape[0] - 1))
    column = data.draw(st.integers(0, matrix.shape[1] - 1))
    matrix[row, column] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))

    with pytest.raises(UnusableVectorError, match="1 of"):
        normalise(matrix)


def test_a_vector_of_length_zero_is_unusable() -> None:
    with pytest.raises(UnusableVectorError, match="1 of 2"):
        normalise(np.array([[1, 0], [0, 0]], dtype=np.float32))


@given(MATRICES, st.randoms(use_true_random=False), st.booleans())
def test_a_reply_is_decoded_in_the_order_of_its_indices(
    matrix: Vectors, random: Any, as_floats: bool
) -> None:
    entries = [
        {"index": i, "embedding": row.tolist() if as_floats else in_base64(row)}
        for i, row in enumerate(matrix)
    ]
    random.shuffle(entries)

    decoded = decode_reply(
        reply_of(entries), num_vectors=matrix.shape[0], dimension=matrix.shape[1]
    )

    np.testing.assert_array_equal(decoded, normalise(matrix))


def test_a_wider_vector_is_cut_before_it_is_normalised_only_where_that_was_agreed() -> None:
    body = reply_of([{"index": 0, "embedding": [3.0, 4.0, 12.0]}])

    cut = decode_reply(body, num_vectors=1, dimension=2, cut=True)

    np.testing.assert_allclose(cut, [[0.6, 0.8]])
    with pytest.raises(MalformedReplyError, match="width 3 instead of 2"):
        decode_reply(body, num_vectors=1, dimension=2)


GOOD = {"index": 0, "embedding": [1.0, 0.0]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"data": {}}',
        reply_of([]),
        reply_of([GOOD]),
        reply_of([GOOD, GOOD]),
        reply_of([GOOD, {"index": 2, "embedding": [1.0, 0.0]}]),
        reply_of([GOOD, {"index": -1, "embedding": [1.0, 0.0]}]),
        reply_of([GOOD, {"index": "x", "embedding": [1.0, 0.0]}]),
        reply_of([GOOD, {"index": 1, "embedding": [1.0]}]),
        reply_of([GOOD, {"index": 1, "embedding": [1.0, 0.0, 0.0]}]),
        reply_of([GOOD, {"index": 1, "embedding": [[1.0, 0.0]]}]),
        reply_of([GOOD, {"index": 1, "embedding": ["a", "b"]}]),
        reply_of([GOOD, {"index": 1, "embedding": "*not base64*"}]),
        reply_of([GOOD, {"index": 1, "embedding": "AAAA"}]),
        reply_of([GOOD, {"index": 1}]),
        reply_of([GOOD, 7]),
    ],
)
def test_a_reply_that_was_not_asked_for_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedReplyError):
        decode_reply(body, num_vectors=2, dimension=2)


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1), min_size=1))
def test_a_request_carries_the_ids_as_they_are(inputs: list[list[int]]) -> None:
    arrays = [np.array(ids, dtype=np.int32) for ids in inputs]

    request = orjson.loads(encode_request(arrays, model="m", dimension=64))

    assert request == {
        "input": inputs,
        "model": "m",
        "encoding_format": "base64",
        "dimensions": 64,
    }


def test_no_dimension_is_asked_for_where_the_server_cannot_cut() -> None:
    body = encode_request([np.array([1], dtype=np.int32)], model="m", dimension=None)

    assert "dimensions" not in orjson.loads(body)


def test_the_width_of_a_reply_is_that_of_its_first_vector() -> None:
    assert (
        reply_width(reply_of([{"index": 0, "embedding": in_base64(np.zeros(5, dtype=np.float32))}]))
        == 5
    )
    with pytest.raises(MalformedReplyError):
        reply_width(reply_of([]))
