"""Vectors of two bytes a number: rounded as they should be, and read as they are."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from milvus_fixtures import make_batch, make_contract, unit_vectors
from milvus_server import MilvusServer
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import common_pb2

from embed_index.pipeline.milvus.capabilities import CAPABILITIES
from embed_index.pipeline.milvus.requests import RowColumns
from embed_index.pipeline.milvus.rows import check_unit
from embed_index.pipeline.milvus.schema import build_schema, read_layout
from embed_index.pipeline.milvus.sdk import DataType
from embed_index.pipeline.milvus.store import MilvusStore, open_store
from embed_index.pipeline.milvus.vector_types import (
    VECTOR_TYPES,
    as_queries,
    decoded,
    encoded,
    read_field,
    read_vector,
    write_field,
)
from embed_index.schemas.indexes import VectorType
from embed_index.schemas.records import Vectors

TYPES: tuple[VectorType, ...] = ("float32", "float16", "bfloat16")
HALF = TYPES[1:]
RELATIVE = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Half of what the last bit stands for."""


def rounded(vectors: Vectors, kind: VectorType) -> Vectors:
    return decoded(encoded(vectors, kind).tobytes(), kind).reshape(vectors.shape)


@pytest.mark.parametrize("kind", TYPES)
def test_numbers_are_rounded_to_the_nearest_and_then_stay(kind: VectorType) -> None:
    vectors = unit_vectors(200, dimension=1024)

    once = rounded(vectors, kind)

    # Below float16's smallest normal number, steps no longer shrink.
    assert (np.abs(once - vectors) <= RELATIVE[kind] * np.abs(vectors) + 2.0**-25).all()
    assert (rounded(once, kind) == once).all()
    assert check_unit(once, num_rows=200, dimension=1024) is None
    assert (np.einsum("ij,ij->i", once, vectors) > 0.999).all()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1.0, 1.0),
        (1.00390625, 1.0),
        (1.01171875, 1.015625),
        (1.003906369, 1.0078125),
        (-0.0, -0.0),
        (0.99999994, 1.0),
    ],
)
def test_a_bfloat16_between_two_goes_to_the_nearer_and_to_the_even(
    number: float, expected: float
) -> None:
    (found,) = rounded(np.array([number], np.float32), "bfloat16")

    assert (found, np.signbit(found)) == (np.float32(expected), np.signbit(expected))


def test_the_worst_that_rounding_does_to_a_length_is_let_through() -> None:
    vectors = np.zeros((1, 32), np.float32)
    vectors[0, :2] = 0.99610, np.sqrt(1 - 0.99610**2)

    assert check_unit(rounded(vectors, "bfloat16"), num_rows=1, dimension=32) is None


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_sent_comes_back_in_each_form_that_pymilvus_gives(kind: VectorType) -> None:
    vectors = unit_vectors(3)
    expected = rounded(vectors, kind)

    field = write_field(vectors, kind)

    assert field.type == VECTOR_TYPES[kind]
    assert (read_field(field, kind) == expected).all()
    given = encoded(vectors[1], kind).tobytes()
    forms: tuple[object, ...] = (given, [given])
    for form in forms if kind in HALF else (vectors[1].tolist(),):
        assert (read_vector(form, kind) == expected[1]).all()


@pytest.mark.parametrize("kind", TYPES)
def test_queries_are_of_the_type_of_the_field(kind: VectorType) -> None:
    vectors = unit_vectors(2)

    sent = Prepare._prepare_placeholder_str(
        as_queries(vectors, kind), vector_data_type=VECTOR_TYPES[kind]
    )

    (group,) = common_pb2.PlaceholderGroup.FromString(sent).placeholders
    assert group.type == int(VECTOR_TYPES[kind])
    assert list(group.values) == [encoded(row, kind).tobytes() for row in vectors]


@pytest.mark.parametrize("kind", HALF)
def test_the_contract_makes_the_field_and_the_format_that_others_refuse(kind: VectorType) -> None:
    contract = make_contract().model_copy(update={"vector_type": kind}).with_format()

    described = build_schema(contract, carried=()).to_dict()

    assert contract.format_version == 4
    assert make_contract().with_format().format_version == 1
    assert contract.differences(make_contract()) == ["vector_type"]
    assert read_layout(described, collection="c").vector_type == kind
    request = RowColumns.of(make_batch(["x"]), columns=()).request(
        "c", slice(0, 1), vector_type=kind
    )
    assert request.fields_data[-1].type == VECTOR_TYPES[kind]


@pytest.fixture
def lenient(milvus_server: MilvusServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[MilvusStore]:
    monkeypatch.setitem(
        CAPABILITIES, "half_vectors", replace(CAPABILITIES["half_vectors"], since=(2, 3))
    )
    with open_store(milvus_server.uri, connect_seconds=60.0) as opened:
        yield opened


@pytest.mark.milvus_server
def test_a_real_server_gives_back_what_it_was_sent(lenient: MilvusStore, alias: str) -> None:
    # It is refused for its scores, which are wrong; what it stores is right.
    store, batch = lenient, make_batch([f"text {place}" for place in range(50)])
    contract = make_contract().model_copy(update={"vector_type": "float16"}).with_format()
    version = store.versions.create(alias, contract=contract)
    keys = [chunk.chunk_id for chunk in batch.chunks]
    expected = dict(zip(keys, rounded(batch.vectors, "float16"), strict=True))

    store.upsert(version, batch)
    (block,) = store.reader.iter_blocks(version)
    store.upsert_block(version, block)

    assert store.versions._describe(version)["fields"][-1]["type"] == DataType.FLOAT16_VECTOR
    fetched = store.reader.fetch_vectors(version, keys)
    rows = store.reader.iter_chunks(version, with_vectors=True)
    read = {row.chunk_id: row.vector for row in rows}
    for key in keys:
        assert (fetched[key] == expected[key]).all()
        assert (read[key] == expected[key]).all()
    blocks = dict(zip(block.fields["chunk_id"], block.vectors, strict=True))
    assert all((blocks[key] == expected[key]).all() for key in keys)
    (hits,) = store.reader.nearest.search(
        version,
        batch.vectors[:1],
        layout=store.versions.layout(version),
        limit=3,
        fields=("embedding",),
        consistency="Strong",
    )
    assert all((hit.chunk.vector == expected[hit.chunk.chunk_id]).all() for hit in hits)
