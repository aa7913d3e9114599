"""Rows and bytes of a collection by arithmetic that can be followed by hand."""

import pytest

from embed_index.pipeline.milvus.indexes import VectorIndex
from embed_index.pipeline.planning.storage import Storage, storage_of
from embed_index.schemas.indexes import IndexType


def stored(index: VectorIndex, *, embedded: bool = False) -> Storage:
    return storage_of(
        rows_now=10,
        rows_written=90,
        rows_after=100,
        num_documents=50,
        text_bytes=5_000,
        other_bytes=500,
        dimension=256,
        index=index,
        embedded=embedded,
    )


def test_vectors_are_four_bytes_a_number_and_fields_are_those_of_each_row() -> None:
    storage = stored(VectorIndex())

    assert storage.vector_bytes == 100 * 256 * 4
    assert storage.text_bytes == 5_000
    # Key 32, hash 32, numbers 40, flag 1, source 40, id and carried values 10.
    assert storage.field_bytes == 100 * 155
    assert storage.total_bytes == 102_400 + 5_000 + 15_500 + storage.index_bytes


@pytest.mark.parametrize(
    ("kind", "params", "embedded", "num_bytes"),
    [
        ("auto", {}, True, 0),
        ("auto", {}, False, 100 * (1024 + 2 * 18 * 4)),
        ("hnsw", {"M": 32}, False, 100 * (1024 + 2 * 32 * 4)),
        ("ivf_flat", {"nlist": 16}, False, 100 * 1024 + 16 * 1024),
        ("ivf_sq8", {"nlist": 16}, False, 100 * 256 + 16 * 1024),
        ("flat", {}, False, 100 * 1024),
    ],
)
def test_an_index_takes_what_its_kind_keeps(
    kind: IndexType, params: dict[str, int], embedded: bool, num_bytes: int
) -> None:
    index = VectorIndex(type=kind, params=params)

    assert stored(index, embedded=embedded).index_bytes == num_bytes
