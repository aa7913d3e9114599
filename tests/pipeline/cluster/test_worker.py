"""What a worker makes of its node before it starts a server, and of a server started again."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sglang_fixtures import light_environment

from embed_index.pipeline.cluster.order import (
    Ready,
    Refused,
    Unusable,
    WorkOrder,
    describe_differences,
    versions,
)
from embed_index.pipeline.cluster.worker import SameAsBefore, Worker
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.embedding.wire import ServerDialect
from embed_index.pipeline.model.files import find_model
from embed_index.schemas.errors import ContractError
from embed_index.schemas.records import TokenIds, Vectors


def order(sample_model: Path, folder: Path, **changed: object) -> str:
    found = find_model(str(sample_model))
    given = {
        "model": str(sample_model),
        "hub_revision": None,
        "revision": found.revision,
        "dtype": "auto",
        "on_gpu": False,
        "dimension": 64,
        "max_tokens": 512,
        "answer_seconds": 60.0,
        "start_seconds": 120.0,
        "extra_flags": (),
        "log_folder": str(folder / "logs"),
        "log_owner": "test",
        "canary_ids": ((1, 2, 3), (4,)),
    }
    return WorkOrder.model_validate(given | changed).model_dump_json()


async def start(worker: Worker) -> Unusable:
    answer = await worker.start()
    assert isinstance(answer, Unusable)
    return answer


async def test_a_node_with_other_versions_names_them_and_reads_no_order() -> None:
    driver = versions() | {"ray": "1.0.0", "sglang": "0.0.1"}

    answer = await start(Worker(driver, "an order of another version"))

    assert "ray " in answer.message
    assert "(the driver has 1.0.0)" in answer.message
    assert "(the driver has 0.0.1)" in answer.message
    assert "python" not in answer.message
    assert answer.is_configuration


def test_a_package_that_a_node_lacks_is_called_so() -> None:
    assert describe_differences({}, {"sglang": "1"}) == "sglang not installed (the driver has 1)"
    assert describe_differences({"a": "1"}, {"a": "1"}) == ""


async def test_a_node_without_the_model_says_so(tmp_path: Path, sample_model: Path) -> None:
    missing = str(tmp_path / "elsewhere")

    answer = await start(Worker(versions(), order(sample_model, tmp_path, model=missing)))

    assert "elsewhere' does not exist" in answer.message
    assert answer.is_configuration


async def test_a_node_with_another_revision_says_both(tmp_path: Path, sample_model: Path) -> None:
    answer = await start(Worker(versions(), order(sample_model, tmp_path, revision="local-0")))

    assert "another revision of sample-model (local-" in answer.message
    assert "than the driver (local-0)" in answer.message


async def test_a_worker_without_the_gpu_that_it_was_given_says_so(
    tmp_path: Path, sample_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embed_index.pipeline.cluster.worker.visible_gpus", lambda: ())

    answer = await start(Worker(versions(), order(sample_model, tmp_path, on_gpu=True)))

    assert answer.message == "Ray gave this worker a GPU, and CUDA finds none"


async def test_a_worker_that_was_not_started_embeds_nothing(
    tmp_path: Path, sample_model: Path
) -> None:
    worker = Worker(versions(), order(sample_model, tmp_path))
    ids = np.array([1], dtype=np.int32)

    assert isinstance(await worker.embed(ids, ids, dimension=64), Unusable)


async def test_a_worker_embeds_by_a_server_of_its_own_that_ends_with_it(
    tmp_path: Path, sample_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", light_environment()["PYTHONPATH"])
    worker = Worker(versions(), order(sample_model, tmp_path))
    ready = await worker.start()
    assert isinstance(ready, Ready)
    try:
        assert await worker.start() is ready
        ids, lengths = np.arange(1, 8, dtype=np.int32), np.array([3, 4], dtype=np.int32)
        vectors = await worker.embed(ids, lengths, dimension=64)
        assert (vectors.shape, vectors.dtype) == ((2, 64), np.float32)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
        refused = await worker.embed(ids + 1_000_000, lengths, dimension=64)
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.places) == ("token_out_of_range", (0, 1))
    finally:
        await worker.stop()
    (log,) = (tmp_path / "logs").iterdir()
    assert log.name.endswith("-test.log")


class Vectoring:
    """Gives every input this vector."""

    def __init__(self, *vector: float) -> None:
        self.vector = np.array(vector, dtype=np.float32)

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        return np.stack([self.vector for _ in token_ids])


async def test_a_server_that_is_started_again_must_give_the_vectors_of_the_first() -> None:
    access = ServerAccess(
        models=(), served_name="m", width=2, dialect=ServerDialect(), max_input_tokens=None,
        engine="sglang 0", dtype="float32", missing=(),
    )  # fmt: skip
    proof = SameAsBefore([np.array([1], dtype=np.int32)], dimension=2)

    await proof.prove(Vectoring(1, 0), access)
    await proof.prove(Vectoring(1, 0), access)
    with pytest.raises(ContractError, match=r"cosine 0\.0000"):
        await proof.prove(Vectoring(0, 1), access)
