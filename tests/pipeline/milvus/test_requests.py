"""Requests that are built column by column are those that pymilvus builds row by row."""

from dataclasses import replace

import numpy as np
import pytest
from milvus_fixtures import DIMENSION, make_batch, make_contract
from pymilvus.client.prepare import Prepare

from embed_index.pipeline.milvus.requests import RowColumns
from embed_index.pipeline.milvus.schema import build_schema
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.records import CarriedValue

CARRIED = (
    CarriedColumn(name="product", type="text"),
    CarriedColumn(name="severity", type="integer"),
    CarriedColumn(name="price", type="number"),
    CarriedColumn(name="open", type="boolean"),
)


@pytest.mark.parametrize(
    ("values", "nullable"),
    [
        (("lamp «é»", -(2**62), 0.1, True), False),
        (("", 0, -0.0, False), True),
        ((None, None, None, None), True),
    ],
)
def test_a_request_is_the_one_that_pymilvus_would_build(
    values: tuple[CarriedValue, ...], nullable: bool
) -> None:
    columns = [replace(column, nullable=nullable) for column in CARRIED]
    texts = ["one ", "zwei – €", "𝄞" * 20_000]
    batch = make_batch(texts, doc_id="a" * 512, carried=values)
    rows = [
        {
            "chunk_id": chunk.chunk_id,
            "doc_id": chunk.document.doc_id,
            "chunk_index": chunk.chunk_index,
            "num_chunks": chunk.num_chunks,
            "char_start": chunk.char_start,
            "char_end": chunk.char_end,
            "num_tokens": chunk.num_tokens,
            "doc_hash": chunk.document.doc_hash,
            "text": "𝄞" * 16_383 if place == 2 else texts[place],
            "text_complete": place != 2,
            "source": str(chunk.document.source),
            **{column.name: value for column, value in zip(CARRIED, values, strict=True)},
            "embedding": vector,
        }
        for place, (chunk, vector) in enumerate(zip(batch.chunks, batch.vectors, strict=True))
    ]
    fields = build_schema(make_contract(), carried=columns).to_dict()["fields"]
    theirs = Prepare.row_upsert_param("c_v1", rows, "", fields)

    ours = RowColumns.of(batch, columns=columns).request("c_v1", slice(0, 3))

    assert ours.num_rows == theirs.num_rows == 3
    assert ours.collection_name == theirs.collection_name
    assert {field.field_name: field for field in ours.fields_data} == {
        field.field_name: field for field in theirs.fields_data
    }


def test_requests_take_all_rows_in_order_and_are_of_about_a_size() -> None:
    texts = ["x" * size for size in (10, 900, 900, 5_000, 10, 10)]
    columns = RowColumns.of(make_batch(texts), columns=())
    row = 256 + 4 * DIMENSION + 100

    slices = list(columns.slices(max_bytes=2 * (row + 900)))

    assert [(s.start, s.stop) for s in slices] == [(0, 2), (2, 3), (3, 4), (4, 6)]
    written = np.concatenate(
        [
            np.array(columns.request("c", rows).fields_data[-1].vectors.float_vector.data)
            for rows in slices
        ]
    )
    np.testing.assert_array_equal(written, columns.vectors.ravel())
