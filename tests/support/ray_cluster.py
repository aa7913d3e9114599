"""A Ray cluster of simulated nodes on this machine, in a process of its own.

    python tests/support/ray_cluster.py

Each node is a raylet with an environment and resources of its own; the head has neither cores nor
a dashboard. A line of JSON adds a node, the answer is a line of JSON with its processes; at the end
of the input everything is taken down.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
from process_marks import wait_for

_ROOT = str(Path(__file__).resolve().parents[2])
_SERVER = "embed_index.pipeline.server.child"
_OBJECT_STORE_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RayNode:
    raylet: int
    """Process id."""
    name: str
    """As notices and failures name it."""


class RayCluster:
    """The cluster, from entering to leaving."""

    def __init__(self, **environment: str) -> None:
        self._environment = environment

    def __enter__(self) -> Self:
        # Ray's sockets have long names beneath this folder.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"} | self._environment,
        )
        head = self._answer()
        self.address: str = head["address"]
        self.gcs: int = head["gcs"]
        self.raylet_of_head: int = head["raylet"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_node(
        self, *, num_cpus: int = 1, environment: Mapping[str, str] | None = None
    ) -> RayNode:
        assert self._process.stdin is not None
        asked = {"num_cpus": num_cpus, "env_vars": dict(environment or {})}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return RayNode(**self._answer())

    def processes(self) -> list[psutil.Process]:
        """All that Ray itself runs, by the folder in their command lines."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(str(self.folder) in word for word in process.cmdline()):
                    found.append(process)
        return found

    def workers(self) -> list[int]:
        """Processes of our actors."""
        return [process.pid for process in psutil.process_iter() if _is_worker(process)]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "".join(process.cmdline()[:1]).startswith("ray::Worker")
    return False


def servers() -> list[int]:
    """Processes of managed servers of this checkout's model, guards and all."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            is_ours = _SERVER in words and any(word.startswith(_ROOT) for word in words)
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


@contextlib.contextmanager
def no_server_left() -> Iterator[None]:
    """Wait until all servers have ended that began within the block."""
    before = set(servers())
    yield
    wait_for(lambda: not set(servers()) - before, seconds=90)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _serve(folder: str) -> None:
    from ray.cluster_utils import Cluster

    sizes = {"object_store_memory": _OBJECT_STORE_BYTES}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "temp_dir": folder, **sizes},
    )
    head = cluster.head_node.all_processes
    _say(
        address=cluster.address,
        gcs=head["gcs_server"][0].process.pid,
        raylet=head["raylet"][0].process.pid,
    )
    for line in sys.stdin:
        node = cluster.add_node(**json.loads(line), **sizes)
        host = os.uname().nodename
        _say(
            raylet=node.all_processes["raylet"][0].process.pid,
            name=f"{host} (node {node.node_id[:8]})",
        )
    cluster.shutdown()


def _say(**fields: object) -> None:
    # Ray writes to standard output, too.
    os.write(_ANSWERS, json.dumps(fields).encode() + b"\n")


if __name__ == "__main__":
    _ANSWERS = os.dup(1)
    os.dup2(2, 1)
    _serve(sys.argv[1])
