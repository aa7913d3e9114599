"""A run may die at any moment; the next one ends with the undisturbed collection."""

from pathlib import Path

import pytest
from kill_harness import KillHarness
from milvus_server import MilvusServer
from sglang_fixtures import RunningServer

pytestmark = pytest.mark.timeout(3600)


def harness(
    folder: Path, *, uri: str, model: Path, server: RunningServer, **options: int
) -> KillHarness:
    made = KillHarness(
        folder=folder,
        uri=uri,
        model=model,
        server_url=server.server.url,
        server_key=server.server.key.get_secret_value(),
        **options,  # type: ignore[arg-type]
    )
    made.expect()
    return made


@pytest.mark.parametrize(
    ("num_kills", "num_documents"),
    [pytest.param(6, 20), pytest.param(200, 60, marks=pytest.mark.slow)],
)
def test_kills_leave_no_difference_on_milvus_lite(
    tmp_path: Path,
    sample_model: Path,
    sglang_server: RunningServer,
    num_kills: int,
    num_documents: int,
) -> None:
    killing = harness(
        tmp_path,
        uri=str(tmp_path / "killed.db"),
        model=sample_model,
        server=sglang_server,
        num_documents=num_documents,
        seed=num_kills,
    )
    killing.disturb(num_kills=num_kills)

    assert (killing.num_kills, killing.num_differences) == (num_kills, 0)


@pytest.mark.milvus_server
@pytest.mark.slow
def test_kills_leave_no_difference_on_a_milvus_server(
    tmp_path: Path,
    sample_model: Path,
    sglang_server: RunningServer,
    milvus_server: MilvusServer,
) -> None:
    killing = harness(
        tmp_path, uri=milvus_server.uri, model=sample_model, server=sglang_server, seed=30
    )
    killing.disturb(num_kills=30)

    assert (killing.num_kills, killing.num_differences) == (30, 0)
