from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embed_index.pipeline.stages.packing import TokenPacker
from embed_index.schemas.records import Chunk, ChunkBatch, Document, SourceRow

DOCUMENT = Document(
    doc_id="d",
    text="",
    carried=(),
    source=SourceRow(path="a.parquet", row_group=0, row=0),
    doc_hash="",
)


def chunk(index: int, num_tokens: int) -> Chunk:
    return Chunk(
        chunk_id=str(index),
        document=DOCUMENT,
        chunk_index=index,
        num_chunks=1,
        char_start=0,
        char_end=0,
        token_ids=np.zeros(num_tokens, np.int32),
    )


def pack(chunks: list[Chunk], *, max_tokens: int, max_chunks: int) -> list[ChunkBatch]:
    packer = TokenPacker(max_tokens=max_tokens, max_chunks=max_chunks)
    batches = [*map(packer.add, chunks), packer.flush()]
    assert packer.flush() is None
    return [batch for batch in batches if batch is not None]


@given(
    sizes=st.lists(st.integers(1, 50), max_size=60),
    max_tokens=st.integers(10, 100),
    max_chunks=st.integers(1, 8),
)
def test_batches_keep_order_drop_nothing_and_stay_in_bounds(
    sizes: list[int], max_tokens: int, max_chunks: int
) -> None:
    chunks = [chunk(index, size) for index, size in enumerate(sizes)]
    batches = pack(chunks, max_tokens=max_tokens, max_chunks=max_chunks)

    assert [c for batch in batches for c in batch.chunks] == chunks
    for batch in batches:
        assert 1 <= len(batch.chunks) <= max_chunks
        assert batch.num_tokens <= max_tokens or len(batch.chunks) == 1


@given(sizes=st.lists(st.integers(1, 50), max_size=60), max_tokens=st.integers(10, 100))
def test_no_two_neighbouring_batches_would_fit_in_one(sizes: list[int], max_tokens: int) -> None:
    chunks = [chunk(index, size) for index, size in enumerate(sizes)]
    batches = pack(chunks, max_tokens=max_tokens, max_chunks=1000)

    for batch, following in pairwise(batches):
        assert batch.num_tokens + following.chunks[0].num_tokens > max_tokens
