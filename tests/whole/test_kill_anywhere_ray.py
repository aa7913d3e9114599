"""On a cluster anything may die at any moment; the next run ends with the same collection."""

import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from kill_harness import NUM_STATES, KillHarness, write_state
from process_marks import wait_for
from ray_cluster import RayCluster, RayNode, kill, servers
from sglang_fixtures import light_environment

from embed_index.jobs.adapters.places import lock_path
from embed_index.schemas.settings import JobSettings

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600)]

LIGHT = {"PYTHONPATH": light_environment()["PYTHONPATH"], "SGLANG_LIGHT_SECONDS": "0.02"}
VICTIMS = ("worker", "server", "raylet", "head", "driver", "parent")
_NUM_NODES = 2
_SECONDS = 9.0
"""Of a run, about."""


@dataclass(kw_only=True)
class RayKillHarness(KillHarness):
    """Kills what a run on a cluster is made of."""

    clusters: ExitStack
    killed: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._start_cluster()

    def kill_each(self, victims: Iterator[str]) -> None:
        """Kill one of them in a run each, and let a run finish after every one to three."""
        pending = list(victims)
        while pending:
            for _ in range(self._rng.randint(1, 3)):
                if not pending:
                    break
                state = self._rng.randrange(NUM_STATES)
                write_state(self._corpus, state=state, num_documents=self.num_documents)
                self._kill(pending.pop())
            self.finish(self.collection)
            self.num_differences += len(list(self.differences(state)))

    def _kill(self, victim: str) -> None:
        run = subprocess.Popen(
            self._command(self.collection),
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        where = JobSettings(state_dir=self.folder / "state", milvus_uri=self.uri)
        lock = lock_path(where, self.collection)
        wait_for(lambda: run.poll() is not None or (lock.exists() and lock.stat().st_size > 0))
        # The lock is taken by the child of the process that was started.
        try:
            run.wait(self._rng.uniform(0, _SECONDS))
        except subprocess.TimeoutExpired:
            if self._strike(victim, run):
                self.killed.append(victim)
        self.codes.append(run.wait(300))
        wait_for(lambda: not servers(), seconds=120)
        self._mend(victim)

    def _strike(self, victim: str, run: "subprocess.Popen[bytes]") -> bool:
        """Kill one, if there is one at this moment."""
        cluster = self._cluster
        found: dict[str, Callable[[], list[int]]] = {
            "worker": cluster.workers,
            "server": servers,
            "raylet": lambda: [node.raylet for node in self._nodes],
            "head": lambda: [cluster.gcs],
            "driver": lambda: [child.pid for child in psutil.Process(run.pid).children()],
            "parent": lambda: [run.pid],
        }
        targets = found[victim]()
        if targets:
            kill(self._rng.choice(targets))
        return bool(targets)

    def _mend(self, victim: str) -> None:
        if victim in ("head", "raylet"):
            self.clusters.close()
            self._start_cluster()

    def _start_cluster(self) -> None:
        self._cluster = self.clusters.enter_context(RayCluster())
        self._nodes: list[RayNode] = [
            self._cluster.add_node(environment=LIGHT) for _ in range(_NUM_NODES)
        ]

    @property
    def _environment(self) -> dict[str, str]:
        given = super()._environment
        return {name: value for name, value in given.items() if not name.startswith("EMBEDDING")}

    def _command(self, collection: str) -> list[str]:
        on_cluster = ["--ray", self._cluster.address, "--ray-cpus", "1"]
        return [*super()._command(collection), *on_cluster]


@pytest.fixture
def killing(tmp_path: Path, sample_model: Path) -> Iterator[RayKillHarness]:
    with ExitStack() as clusters:
        made = RayKillHarness(
            folder=tmp_path,
            uri=str(tmp_path / "killed.db"),
            model=sample_model,
            server_url="",
            server_key="",
            num_documents=30,
            seed=14,
            clusters=clusters,
        )
        made.expect()
        yield made


def test_a_kill_of_each_kind_leaves_no_difference_and_no_server(killing: RayKillHarness) -> None:
    killing.kill_each(iter(VICTIMS))

    assert killing.num_differences == 0
    assert servers() == []
    assert len(killing.killed) >= len(VICTIMS) - 2
    assert set(killing.codes) <= {0, 4, 137, -9}


@pytest.mark.slow
def test_sixty_kills_leave_no_difference_and_no_server(killing: RayKillHarness) -> None:
    rng = random.Random(60)
    killing.kill_each(rng.choice(VICTIMS) for _ in range(60))

    assert killing.num_differences == 0
    assert servers() == []
    assert len(killing.killed) >= 40
    assert set(killing.codes) <= {0, 4, 137, -9}
