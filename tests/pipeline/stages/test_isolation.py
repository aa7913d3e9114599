from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_index.pipeline.embedding.embedder import RequestRefusedError
from embed_index.pipeline.stages.isolation import embed_or_isolate
from embed_index.schemas.errors import ServerError
from embed_index.schemas.records import Chunk, ChunkBatch, Document, SourceRow, TokenIds, Vectors

DOCUMENT = Document(
    doc_id="d",
    text="",
    carried=(),
    source=SourceRow(path="p", row_group=0, row=0),
    doc_hash="0" * 32,
)


def chunk(index: int) -> Chunk:
    return Chunk(
        chunk_id=f"{index:032x}",
        document=DOCUMENT,
        chunk_index=index,
        num_chunks=1,
        char_start=0,
        char_end=0,
        token_ids=np.array([index], dtype=np.int32),
    )


class Choosy:
    """Refuses every request that holds a poisoned id, and may say which inputs hold one."""

    def __init__(self, poisoned: set[int], *, names_them: bool = False) -> None:
        self.poisoned = poisoned
        self.names_them = names_them
        self.num_requests = 0

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        self.num_requests += 1
        values = np.concatenate(token_ids)
        places = [place for place, value in enumerate(values.tolist()) if value in self.poisoned]
        if places:
            named = places if self.names_them else ()
            raise RequestRefusedError("refused_400", detail="no", places=named)
        return np.repeat(values[:, None], dimension, axis=1).astype(np.float32)


@given(st.integers(1, 40), st.sets(st.integers(0, 39)), st.booleans())
async def test_every_good_chunk_gets_its_vector_and_every_bad_one_stands_alone(
    num_chunks: int, poisoned: set[int], names_them: bool
) -> None:
    chunks = tuple(chunk(i) for i in range(num_chunks))

    isolated = await embed_or_isolate(
        ChunkBatch(chunks=chunks),
        embedder=Choosy(poisoned, names_them=names_them),
        dimension=4,
    )

    good = [i for i in range(num_chunks) if i not in poisoned]
    assert [c.chunk_index for c in isolated.embedded.chunks] == good
    assert isolated.embedded.vectors.shape == (len(good), 4)
    assert isolated.embedded.vectors[:, 0].tolist() == good
    bad = [i for i in range(num_chunks) if i in poisoned]
    assert [r.chunk.chunk_index for r in isolated.refused] == bad
    assert {r.reason for r in isolated.refused} <= {"refused_400"}


async def test_one_bad_chunk_costs_few_requests() -> None:
    embedder = Choosy({77})

    await embed_or_isolate(
        ChunkBatch(chunks=tuple(chunk(i) for i in range(128))), embedder=embedder, dimension=4
    )

    assert embedder.num_requests == 1 + 2 * 7


async def test_chunks_that_a_refusal_names_cost_a_request_each() -> None:
    embedder = Choosy(set(range(0, 128, 3)), names_them=True)

    await embed_or_isolate(
        ChunkBatch(chunks=tuple(chunk(i) for i in range(128))), embedder=embedder, dimension=4
    )

    assert embedder.num_requests == 2 + 43


async def test_an_input_that_only_spoils_others_is_not_refused() -> None:
    """Such as overflow in a kernel that works on a whole batch at once."""

    class Spoilt:
        async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
            if len(token_ids) > 1:
                raise RequestRefusedError("unusable_vector", detail="", places=[len(token_ids) - 1])
            return np.ones((1, dimension), dtype=np.float32)

    isolated = await embed_or_isolate(
        ChunkBatch(chunks=tuple(chunk(i) for i in range(1500))), embedder=Spoilt(), dimension=4
    )

    assert not isolated.refused
    assert len(isolated.embedded.chunks) == len(isolated.embedded.vectors) == 1500


async def test_a_server_that_cannot_be_used_is_nobodys_fault_but_its_own() -> None:
    class Dead:
        async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
            raise ServerError("gone")

    with pytest.raises(ServerError):
        await embed_or_isolate(ChunkBatch(chunks=(chunk(1),)), embedder=Dead(), dimension=4)
