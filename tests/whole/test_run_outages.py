"""Whole runs while a real Milvus server is away in their midst."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hash_embedding_server import HashEmbeddingServer
from kill_harness import KillHarness, Rows, differences, write_state
from milvus_server import MilvusServer

pytestmark = [pytest.mark.milvus_server, pytest.mark.timeout(900)]

NUM_DOCUMENTS = 400
FREEZE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """Runs of one corpus, one of them left alone and one not."""

    runs: KillHarness
    server: HashEmbeddingServer
    name: str

    def undisturbed(self) -> Rows:
        self.runs.finish(f"{self.name}_undisturbed")
        return self.runs.rows(f"{self.name}_undisturbed")

    def start(self, *more: str) -> "subprocess.Popen[str]":
        """Start a run and return in its midst."""
        before = self.server.num_embedded
        process = self.runs.start(self.name, *more)
        while self.server.num_embedded < before + 1000:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        return process

    def differences(self, undisturbed: Rows) -> list[str]:
        return list(differences(undisturbed, self.runs.rows(self.name)))


@pytest.fixture
def disturb(
    tmp_path: Path, sample_model: Path, hash_server: HashEmbeddingServer, alias: str
) -> Callable[[MilvusServer], Disturbance]:
    def disturb_on(milvus: MilvusServer) -> Disturbance:
        write_state(tmp_path / "corpus", state=0, num_documents=NUM_DOCUMENTS)
        runs = KillHarness(
            folder=tmp_path,
            uri=milvus.uri,
            model=sample_model,
            server_url=hash_server.url,
            server_key=hash_server.key,
        )
        return Disturbance(runs=runs, server=hash_server, name=alias)

    return disturb_on


@pytest.mark.slow
def test_a_server_that_is_frozen_for_a_minute_makes_no_difference(
    disturb: Callable[[MilvusServer], Disturbance], tmp_path: Path
) -> None:
    # The server gives itself up where a freeze outlasts its session.
    settings = {"common": {"session": {"ttl": 3 * FREEZE_SECONDS}}}
    with MilvusServer(tmp_path / "milvus", settings=settings) as milvus:
        runs = disturb(milvus)
        undisturbed = runs.undisturbed()
        with runs.start() as process:
            milvus.freeze()
            thaw = threading.Timer(FREEZE_SECONDS, milvus.thaw)
            thaw.start()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(FREEZE_SECONDS - 5)
            thaw.join()
            _, messages = process.communicate(timeout=300)

        assert process.returncode == 0, messages
        assert runs.differences(undisturbed) == []


@pytest.mark.slow
def test_a_server_that_is_killed_and_restarted_makes_no_difference(
    disturb: Callable[[MilvusServer], Disturbance], milvus_server: MilvusServer
) -> None:
    runs = disturb(milvus_server)
    undisturbed = runs.undisturbed()
    with runs.start() as process:
        milvus_server.kill()
        assert process.poll() is None
        milvus_server.start()
        _, messages = process.communicate(timeout=600)

    assert process.returncode == 0, messages
    assert runs.differences(undisturbed) == []


def test_a_run_is_stopped_within_its_grace_period_although_milvus_does_not_answer(
    disturb: Callable[[MilvusServer], Disturbance], milvus_server: MilvusServer
) -> None:
    with disturb(milvus_server).start("--grace-seconds", "1") as process:
        milvus_server.freeze()
        try:
            process.send_signal(signal.SIGTERM)
            _, messages = process.communicate(timeout=15)
        finally:
            milvus_server.thaw()
            process.kill()

    assert process.returncode == 130, messages
    notice, error, *_ = messages.splitlines()
    assert notice.endswith("within 1 s; one more signal ends it at once"), messages
    assert error.endswith(": interrupted"), messages
