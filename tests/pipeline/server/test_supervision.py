"""Servers that crash, hang or never come back, and the batches that they take along."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fragile_server import FragileServer, Nursery, any_of
from misbehaving_server import vector_of
from supervised import (
    DIMENSION,
    HANGS_SECONDS,
    PATIENT_SECONDS,
    QUICK,
    supervised,
    supervision,
)

from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.embedding.wire import normalise
from embed_index.pipeline.server import suspects
from embed_index.pipeline.server.service import EmbedderPool
from embed_index.pipeline.server.supervision import RestartPolicy
from embed_index.pipeline.server.suspects import Suspects
from embed_index.pipeline.stages.isolation import IsolatedBatch, embed_or_isolate
from embed_index.schemas.errors import ContractError, ServerError
from embed_index.schemas.records import Chunk, ChunkBatch, Document, SourceRow, Vectors

POISON = 666

DOCUMENT = Document(
    doc_id="d", text="", carried=(), source=SourceRow(path="p", row_group=0, row=0), doc_hash=""
)


def batch(*ids: int) -> ChunkBatch:
    return ChunkBatch(
        chunks=tuple(
            Chunk(
                chunk_id=f"{first:032x}",
                document=DOCUMENT,
                chunk_index=first,
                num_chunks=1,
                char_start=0,
                char_end=0,
                token_ids=np.array([first, 7], dtype=np.int32),
            )
            for first in ids
        )
    )


def expected(chunks: Sequence[Chunk]) -> Vectors:
    raw = np.array([vector_of(chunk.token_ids.tolist()) for chunk in chunks], dtype=np.float32)
    return normalise(raw)


async def embed_all(embedder: Embedder, *batches: ChunkBatch) -> list[IsolatedBatch]:
    return await asyncio.gather(
        *(embed_or_isolate(b, embedder=embedder, dimension=DIMENSION) for b in batches)
    )


def check(results: Sequence[IsolatedBatch], *, refused: set[int]) -> None:
    """Everything but the refused has the vector that an undisturbed server gives."""
    for result in results:
        np.testing.assert_allclose(
            result.embedded.vectors, expected(result.embedded.chunks), atol=1e-6
        )
    assert {r.chunk.chunk_index for result in results for r in result.refused} == refused


# --- who is to blame ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "patience"),
    [
        pytest.param(lambda: FragileServer(dies=any_of(POISON)), PATIENT_SECONDS, id="dies"),
        pytest.param(lambda: FragileServer(hangs=any_of(POISON)), HANGS_SECONDS, id="hangs"),
    ],
)
async def test_a_chunk_that_kills_the_server_is_the_only_one_refused(
    make: Callable[[], FragileServer], patience: float
) -> None:
    launch = Nursery(make)
    batches = [batch(*range(start, start + 8)) for start in (0, 100, POISON - 5, 200)]

    async with supervised(launch, supervision(answer_seconds=patience)) as embedder:
        results = await embed_all(embedder, *batches)

    check(results, refused={POISON})
    assert {r.reason for result in results for r in result.refused} == {"kills_server"}
    # Once with others, once as a batch, thrice in halves, and once more to be sure.
    assert launch.num_lives == 1 + 1 + 1 + 3 + 1
    assert all(server.was_killed for server in launch.servers[:-1])


async def test_several_deadly_chunks_in_several_batches_are_all_found() -> None:
    deadly = {3, 4, 103, 110}
    launch = Nursery(lambda: FragileServer(dies=any_of(*deadly)))
    batches = [batch(*range(start, start + 16)) for start in (0, 100, 200)]

    async with supervised(launch, supervision()) as embedder:
        results = await embed_all(embedder, *batches)

    check(results, refused=deadly)


async def test_a_chunk_known_to_kill_kills_no_other_server() -> None:
    launches = [Nursery(lambda: FragileServer(dies=any_of(POISON))) for _ in range(2)]
    how = supervision(suspects=Suspects())
    async with supervised(launches[0], how) as first, supervised(launches[1], how) as second:
        await embed_all(first, batch(POISON))
        (result,) = await embed_all(second, batch(1, POISON, 2))

    check([result], refused={POISON})
    assert launches[1].num_lives == 1


async def test_a_server_killed_from_outside_costs_nobody_anything() -> None:
    launch = Nursery(*[lambda: FragileServer(dies=lambda _: True)] * 2, FragileServer)

    async with supervised(launch, supervision()) as embedder:
        # It dies with all of them, and then with the first that is alone: still no proof.
        results = await embed_all(embedder, *(batch(number) for number in range(6)))

    check(results, refused=set())
    assert launch.num_lives == 3


async def test_after_a_death_suspects_go_one_at_a_time() -> None:
    launch = Nursery(lambda: FragileServer(dies=lambda _: True), FragileServer)

    async with supervised(launch, supervision()) as embedder:
        await embed_all(embedder, *(batch(number) for number in range(6)))

    assert launch.servers[0].most_at_once == 6
    assert launch.servers[1].most_at_once == 1


# --- when to give up ------------------------------------------------------------------------


async def test_a_server_that_always_dies_ends_the_run() -> None:
    launch = Nursery(lambda: FragileServer(dies=lambda _: True))
    told: list[str] = []

    async with supervised(launch, supervision(told=told)) as embedder:
        with pytest.raises(ServerError, match="failed 6 times without an answer"):
            await embed_or_isolate(batch(*range(64)), embedder=embedder, dimension=DIMENSION)
        with pytest.raises(ServerError):
            await embedder.embed([np.array([1], dtype=np.int32)], dimension=DIMENSION)

    assert told
    assert {text.split(",")[0].rstrip(".") for text in told} == {
        "The embedding server ended unexpectedly. It is started again"
    }
    assert all(not server.is_alive() for server in launch.servers)


async def test_a_server_that_dies_of_every_full_batch_ends_the_run_with_a_word() -> None:
    launch = Nursery(lambda: FragileServer(dies=lambda inputs: len(inputs) > 4))
    told: list[str] = []

    async def embed_full_batches(embedder: Embedder) -> None:
        for start in range(0, 800, 8):
            await embed_all(embedder, batch(*range(start, start + 8)))

    async with supervised(launch, supervision(told=told)) as embedder:
        with pytest.raises(ServerError, match=r"died 17 times .* no chunk is at fault") as caught:
            await embed_full_batches(embedder)

    assert "lower --batch-tokens" in caught.value.remedy
    assert launch.num_lives == 1 + QUICK.max_unexplained
    assert told[0] == "The embedding server ended unexpectedly. It is started again."
    assert told[-1].endswith("It is started again, for the 16th time of at most 16.")


async def test_any_number_of_deadly_chunks_is_found() -> None:
    deadly = {63, 64, 130, 255}
    launch = Nursery(lambda: FragileServer(dies=any_of(*deadly)))
    batches = [batch(*range(start, start + 64)) for start in range(0, 256, 64)]

    async with supervised(launch, supervision()) as embedder:
        results = await embed_all(embedder, *batches)

    check(results, refused=deadly)
    assert launch.num_lives > 2 * QUICK.max_unexplained


async def test_deaths_with_many_answers_in_between_are_forgiven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suspects, "_ANSWERS_TO_FORGIVE", 3)
    launch = Nursery(FragileServer)
    policy = RestartPolicy(max_unexplained=1, first_pause_seconds=0.0)

    async with supervised(launch, supervision(policy=policy)) as embedder:
        for _ in range(4):
            for number in range(3):
                await embed_all(embedder, batch(number))
            launch.servers[-1].die()
        await embed_all(embedder, batch(9))

    assert launch.num_lives == 5


async def test_a_server_that_does_not_come_back_ends_the_run() -> None:
    launch = Nursery(
        lambda: FragileServer(dies=lambda _: True), lambda: FragileServer(starts=False)
    )

    async with supervised(launch, supervision()) as embedder:
        with pytest.raises(ServerError, match="ended while it was starting"):
            await embedder.embed([np.array([1], dtype=np.int32)], dimension=DIMENSION)

    assert launch.num_lives == 1 + QUICK.max_deaths


async def test_a_port_that_is_taken_at_a_restart_is_tried_again() -> None:
    launch = Nursery(
        lambda: FragileServer(dies=lambda _: True),
        lambda: FragileServer(has_port=False),
        FragileServer,
    )

    async with supervised(launch, supervision()) as embedder:
        results = await embed_all(embedder, batch(1, 2))

    check(results, refused=set())
    assert launch.num_lives == 3


async def test_a_first_start_that_fails_is_not_repeated() -> None:
    launch = Nursery(lambda: FragileServer(starts=False))

    with pytest.raises(ServerError, match="while it was starting"):
        async with supervised(launch, supervision()):
            raise AssertionError("unreachable")

    assert launch.num_lives == 1


async def test_progress_makes_up_for_deaths() -> None:
    launch = Nursery(lambda: FragileServer(dies=any_of(1)), FragileServer)
    policy = RestartPolicy(max_deaths=1, first_pause_seconds=0.0)

    async with supervised(launch, supervision(policy=policy)) as embedder:
        for _ in range(3):
            results = await embed_all(embedder, batch(1))
            launch.servers[-1].die()

    check(results, refused=set())
    assert launch.num_lives == 4


async def test_a_restarted_server_with_other_vectors_ends_the_run() -> None:
    launch = Nursery(lambda: FragileServer(dies=any_of(POISON)))
    num_proofs = 0

    async def prove(embedder: Embedder, access: ServerAccess) -> None:
        nonlocal num_proofs
        await embedder.embed([np.array([1], dtype=np.int32)], dimension=DIMENSION)
        num_proofs += 1
        if num_proofs > 1:
            raise ContractError("other vectors")

    async with supervised(launch, supervision(prove=prove)) as embedder:
        with pytest.raises(ContractError):
            await embed_all(embedder, batch(POISON), batch(1))

    assert num_proofs == 2


async def test_a_server_that_dies_of_its_proof_counts_as_dead() -> None:
    launch = Nursery(FragileServer, lambda: FragileServer(dies=any_of(1)))

    async def prove(embedder: Embedder, access: ServerAccess) -> None:
        await embedder.embed([np.array([1], dtype=np.int32)], dimension=DIMENSION)

    async with supervised(launch, supervision(prove=prove)) as embedder:
        launch.servers[0].die()
        with pytest.raises(ServerError, match="failed 6 times"):
            await embedder.embed([np.array([2], dtype=np.int32)], dimension=DIMENSION)


@pytest.mark.parametrize(("num_deaths", "seconds"), [(0, 1), (1, 1), (2, 2), (4, 8), (60, 60)])
def test_pauses_double_up_to_a_limit(num_deaths: int, seconds: float) -> None:
    assert RestartPolicy().pause_seconds(num_deaths) == seconds


async def test_a_pool_rides_out_the_death_of_one_server() -> None:
    fates = iter([False, True])
    frail = Nursery(lambda: FragileServer(dies=lambda _: next(fates, False)))
    sound = Nursery(FragileServer)
    shared = Suspects()
    batches = [batch(*range(start, start + 4)) for start in range(0, 80, 4)]

    async with (
        supervised(frail, supervision(suspects=shared)) as first,
        supervised(sound, supervision(suspects=shared)) as second,
    ):
        results = await embed_all(EmbedderPool([first, second]), *batches)

    check(results, refused=set())
    assert (frail.num_lives, sound.num_lives) == (2, 1)
