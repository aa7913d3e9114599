"""Kept vectors: found by what the model saw, cut, and never another one's."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from milvus_fixtures import make_batch, make_contract, unit_vectors

from embed_index.pipeline.archive.keeping import KeepingEmbedder
from embed_index.pipeline.archive.kept_files import KeptMaking, KeptWriter, list_files
from embed_index.pipeline.archive.kept_reader import INDEX_LAYOUT, KeptReader
from embed_index.pipeline.disk.scratch import open_scratch
from embed_index.pipeline.embedding.embedder import RequestRefusedError
from embed_index.schemas.contract import Canary
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import Chunk, TokenIds, Vectors

WIDTH = 96
MAKING = KeptMaking(
    model="sample",
    model_revision="r1",
    width=WIDTH,
    engine="sglang 0.5.23",
    dtype="float32",
    canaries=(Canary.from_vector("a", unit_vectors(1, dimension=WIDTH, seed=9)[0]),),
)
CONTRACT = make_contract(dimension=32).model_copy(update={"canaries": (), "dtype": "auto"})


def chunks(count: int, *, first: int = 0) -> tuple[Chunk, ...]:
    made = make_batch([f"Text {n}. " for n in range(count)]).chunks
    return tuple(
        replace(chunk, token_ids=np.array([first + n, 7, 9], dtype=np.int32))
        for n, chunk in enumerate(made)
    )


def keep(
    folder: Path, kept: Sequence[Chunk], vectors: Vectors, making: KeptMaking = MAKING
) -> Path:
    with KeptWriter(folder, making) as writer:
        writer.keep([chunk.token_ids for chunk in kept], vectors)
    return list_files(folder)[-1]


class Find(Protocol):
    """Looks for chunks' vectors, for a version whose contract has these fields."""

    def __call__(self, wanted: Sequence[Chunk], **contract: object) -> dict[str, Vectors]: ...


class Said(list[str]):
    """What people were told."""


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def find(tmp_path: Path, said: Said) -> Iterator[Find]:
    with open_scratch(tmp_path / "scratch", INDEX_LAYOUT) as scratch:

        def find(wanted: Sequence[Chunk], **contract: object) -> dict[str, Vectors]:
            scratch.execute("DELETE FROM kept")
            wanted_contract = CONTRACT.model_copy(update=contract)
            reader = KeptReader(
                tmp_path / "kept",
                contract=wanted_contract,
                canaries=wanted_contract.canaries,
                width=WIDTH,
                scratch=scratch,
                tell=said.append,
            )
            return reader.find(wanted)

        yield find


def test_a_vector_is_found_by_its_tokens_and_cut(tmp_path: Path, find: Find, said: Said) -> None:
    kept, vectors = chunks(3), unit_vectors(3, dimension=WIDTH)
    keep(tmp_path / "kept", kept, vectors)

    found = find([*kept[1:], *chunks(1, first=50)])

    cut = vectors[1:, :32] / np.linalg.norm(vectors[1:, :32], axis=1, keepdims=True)
    assert found.keys() == {chunk.chunk_id for chunk in kept[1:]}
    assert np.allclose([found[chunk.chunk_id] for chunk in kept[1:]], cut, atol=1e-7)
    assert said == []


def test_full_width_comes_back_to_the_last_bit(tmp_path: Path, find: Find) -> None:
    kept, vectors = chunks(3), unit_vectors(3, dimension=WIDTH)
    keep(tmp_path / "kept", kept, vectors)

    found = find(kept, dimension=WIDTH)

    assert np.array_equal(np.stack([found[chunk.chunk_id] for chunk in kept]), vectors)


def test_the_newest_of_several_counts(tmp_path: Path, find: Find) -> None:
    kept = chunks(2)
    old, new = unit_vectors(2, dimension=WIDTH, seed=1), unit_vectors(1, dimension=WIDTH, seed=2)
    keep(tmp_path / "kept", kept, old)
    keep(tmp_path / "kept", kept[:1], new)

    found = find(kept, dimension=WIDTH)

    assert np.array_equal(found[kept[0].chunk_id], new[0])
    assert np.array_equal(found[kept[1].chunk_id], old[1])


OTHER = (Canary.from_vector("a", unit_vectors(1, dimension=WIDTH, seed=8)[0]),)


@pytest.mark.parametrize(
    ("making", "contract"),
    [
        pytest.param({"model_revision": "r2"}, {}, id="model"),
        pytest.param({"dtype": "fp8"}, {"dtype": "bfloat16"}, id="quantised"),
        pytest.param({}, {"dtype": "fp8"}, id="not quantised"),
        pytest.param({}, {"canaries": OTHER}, id="other canaries"),
        pytest.param(
            {},
            {"canaries": (Canary.from_vector("b", unit_vectors(1, dimension=WIDTH)[0]),)},
            id="other texts",
        ),
    ],
)
def test_what_was_made_another_way_is_not_found(
    tmp_path: Path, find: Find, making: dict[str, object], contract: dict[str, object]
) -> None:
    kept = chunks(2)
    keep(
        tmp_path / "kept",
        kept,
        unit_vectors(2, dimension=WIDTH),
        MAKING.model_copy(update=making),
    )

    assert find(kept, **contract) == {}


def test_files_whose_canaries_differ_from_the_newest_ones_are_passed_over(
    tmp_path: Path, find: Find
) -> None:
    kept, vectors = chunks(2), unit_vectors(2, dimension=WIDTH)
    keep(tmp_path / "kept", kept, vectors, MAKING.model_copy(update={"canaries": OTHER}))
    keep(tmp_path / "kept", kept[:1], vectors[:1])

    assert list(find(kept)) == [kept[0].chunk_id]


def test_no_bit_that_turns_gives_another_vector(tmp_path: Path, find: Find, said: Said) -> None:
    kept, vectors = chunks(4), unit_vectors(4, dimension=WIDTH)
    path = keep(tmp_path / "kept", kept, vectors)
    content = path.read_bytes()
    num_passed_over = 0

    for place in range(0, len(content), 11):
        turned = bytearray(content)
        turned[place] ^= 4
        path.write_bytes(turned)
        found = find(kept, dimension=WIDTH)
        for chunk, vector in zip(kept, vectors, strict=True):
            assert chunk.chunk_id not in found or np.array_equal(found[chunk.chunk_id], vector)
        num_passed_over += len(found) < len(kept)

    assert num_passed_over > len(content) // 11 // 3
    assert said
    assert {str(path) in sentence for sentence in said} == {True}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not Parquet at all" * 9])
def test_a_file_that_is_none_costs_only_what_it_held(
    tmp_path: Path, find: Find, said: Said, content: bytes
) -> None:
    kept, vectors = chunks(2), unit_vectors(2, dimension=WIDTH)
    keep(tmp_path / "kept", kept[:1], vectors[:1]).write_bytes(content)
    keep(tmp_path / "kept", kept[1:], vectors[1:])

    assert list(find(kept)) == [kept[1].chunk_id]
    assert ["cannot be read" in sentence for sentence in said] == [True]


def test_a_file_is_finished_after_a_while_and_what_a_dead_run_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, vectors = chunks(2), unit_vectors(2, dimension=WIDTH)
    ids = [chunk.token_ids for chunk in kept]
    dead = tmp_path / "vectors-20200101T000000-0.parquet.partial"
    dead.touch()
    monkeypatch.setattr("embed_index.pipeline.archive.kept_files._DEAD_SECONDS", -1.0)

    with KeptWriter(tmp_path, MAKING, file_seconds=0.0) as writer:
        writer.keep(ids, vectors)
        writer.keep(ids, vectors)
        finished = len(list_files(tmp_path))

    assert finished == 2
    assert not dead.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"keep_vectors: .*file/kept cannot be used"):
        KeptWriter(tmp_path / "file" / "kept", MAKING)


class Answer:
    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors
        self.asked: list[int] = []

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        self.asked.append(dimension)
        return self.vectors


async def test_the_full_width_is_asked_for_and_kept_before_the_cut_is_given(
    tmp_path: Path, find: Find
) -> None:
    kept, vectors = chunks(2), unit_vectors(2, dimension=WIDTH)
    inner = Answer(vectors)
    with KeptWriter(tmp_path / "kept", MAKING) as writer:
        embedder = KeepingEmbedder(inner, writer, width=WIDTH)
        given = await embedder.embed([chunk.token_ids for chunk in kept], dimension=32)

    assert (inner.asked, given.shape) == ([WIDTH], (2, 32))
    assert np.allclose(np.linalg.norm(given, axis=1), 1)
    found = find(kept, dimension=WIDTH)
    assert np.array_equal(np.stack([found[chunk.chunk_id] for chunk in kept]), vectors)


async def test_a_vector_of_which_nothing_is_left_is_refused_by_its_place(tmp_path: Path) -> None:
    vectors = unit_vectors(2, dimension=WIDTH)
    vectors[1, :32] = 0
    with KeptWriter(tmp_path, MAKING) as writer:
        embedder = KeepingEmbedder(Answer(vectors), writer, width=WIDTH)
        with pytest.raises(RequestRefusedError) as refused:
            await embedder.embed([chunk.token_ids for chunk in chunks(2)], dimension=32)

    assert refused.value.places == (1,)
    assert list_files(tmp_path) == []
