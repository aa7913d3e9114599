"""A run may die at any moment; the next one ends with the undisturbed collection."""

from pathlib import Path

import pytest
from hash_embedding_server import HashEmbeddingServer
from kill_harness import KillHarness
from milvus_server import MilvusServer
from sglang_fixtures import RunningServer

pytestmark = pytest.mark.timeout(3600)


def harness(
    folder: Path, *, uri: str, model: Path, server: tuple[str, str], **options: int
) -> KillHarness:
    url, key = server
    made = KillHarness(
        folder=folder,
        uri=uri,
        model=model,
        server_url=url,
        server_key=key,
        **options,  # type: ignore[arg-type]
    )
    made.expect()
    return made


def real(server: RunningServer) -> tuple[str, str]:
    return server.server.url, server.server.key.get_secret_value()


def test_a_few_kills_leave_no_difference(
    tmp_path: Path, sample_model: Path, hash_server: HashEmbeddingServer
) -> None:
    killing = harness(
        tmp_path,
        uri=str(tmp_path / "killed.db"),
        model=sample_model,
        # What is killed is the run; whose vectors it carries makes no difference to it.
        server=(hash_server.url, hash_server.key),
        num_documents=20,
        seed=6,
    )
    killing.disturb(num_kills=6)

    assert (killing.num_kills, killing.num_differences) == (6, 0)


@pytest.mark.slow
def test_kills_leave_no_difference_on_milvus_lite(
    tmp_path: Path, sample_model: Path, sglang_server: RunningServer
) -> None:
    killing = harness(
        tmp_path,
        uri=str(tmp_path / "killed.db"),
        model=sample_model,
        server=real(sglang_server),
        seed=200,
    )
    killing.disturb(num_kills=200)

    assert (killing.num_kills, killing.num_differences) == (200, 0)


@pytest.mark.milvus_server
@pytest.mark.slow
def test_kills_leave_no_difference_on_a_milvus_server(
    tmp_path: Path,
    sample_model: Path,
    sglang_server: RunningServer,
    milvus_server: MilvusServer,
) -> None:
    killing = harness(
        tmp_path, uri=milvus_server.uri, model=sample_model, server=real(sglang_server), seed=30
    )
    killing.disturb(num_kills=30)

    assert (killing.num_kills, killing.num_differences) == (30, 0)
