"""Runs on a Ray cluster of simulated nodes: the same rows as on one machine, whatever is lost."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kill_harness import Rows, differences
from leak_hunt import hunt
from process_marks import wait_for
from ray_cluster import RayCluster, RayNode, kill, no_server_left, servers
from sglang_fixtures import light_environment

from embed_index.pipeline.milvus.store import open_store

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

LIGHT = {"PYTHONPATH": light_environment()["PYTHONPATH"]}
"""A node whose managed servers are light: our own processes around SGLang's stand-in."""
SLOW = LIGHT | {"SGLANG_LIGHT_SECONDS": "0.05"}
NEVER_DONE = LIGHT | {"SGLANG_LIGHT_SECONDS": "1"}


@dataclass(kw_only=True)
class RayJob:
    """A job whose runs are processes of their own."""

    folder: Path
    model: Path
    corpus: Path
    more: list[str] = field(default_factory=list)

    def arguments(self, collection: str, *more: str) -> list[str]:
        return [
            sys.executable, "-m", "embed_index.jobs.main", "run",
            "--input", str(self.corpus), "--collection", collection,
            "--milvus-uri", self.uri, "--state-dir", str(self.folder / "state"),
            "--model", str(self.model), "--max-tokens", "64", "--dimension", "64",
            "--batch-tokens", "512", "--log-format", "json", "--max-dead-letters", "100",
            "--ray-cpus", "1", *self.more, *more,
        ]  # fmt: skip

    @property
    def uri(self) -> str:
        return str(self.folder / "store.db")

    def start(
        self, collection: str, *more: str, environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        with (self.folder / "events").open("w") as events:
            return subprocess.Popen(
                self.arguments(collection, *more),
                stdout=subprocess.PIPE,
                stderr=events,
                text=True,
                env=os.environ | dict(environment or {}),
            )

    def run(
        self,
        collection: str,
        *more: str,
        expect: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """Run to the end; return the events, and last the summary if there is one."""
        return self.finish(self.start(collection, *more, environment=environment), expect=expect)

    def finish(
        self, process: "subprocess.Popen[str]", *, expect: int = 0, in_words_of_ray: bool = False
    ) -> list[dict[str, Any]]:
        """Wait for the end; `in_words_of_ray` leaves out what Ray's own threads write of it."""
        output, _ = process.communicate(timeout=500)
        assert process.returncode == expect, self.events_text()
        lines = [*self.events_text().splitlines(), *output.splitlines()]
        return [json.loads(x) for x in lines if not in_words_of_ray or x.startswith("{")]

    def events_text(self) -> str:
        return (self.folder / "events").read_text()

    def rows(self, collection: str) -> Rows:
        with open_store(self.uri, connect_seconds=60.0) as store:
            version = store.versions.live(collection)
            assert version is not None
            chunks = store.reader.iter_chunks(version, with_text=True, with_vectors=True)
            return {chunk.chunk_id: chunk for chunk in chunks}


def notices(events: list[dict[str, Any]]) -> str:
    return "\n".join(event["message"] for event in events if event["event"] == "notice")


@pytest.fixture(scope="module")
def light_cluster() -> Iterator[RayCluster]:
    with RayCluster() as cluster:
        for _ in range(4):
            cluster.add_node(environment=LIGHT)
        yield cluster


@pytest.fixture
def cluster() -> Iterator[RayCluster]:
    """A cluster that the test may kill; it has a head and no node."""
    with RayCluster() as cluster:
        yield cluster


@pytest.fixture
def job(tmp_path: Path, sample_model: Path, sample_corpus: Path) -> RayJob:
    return RayJob(folder=tmp_path, model=sample_model, corpus=sample_corpus)


def test_four_nodes_write_the_rows_of_one_machine_and_leave_no_server(
    job: RayJob, light_cluster: RayCluster
) -> None:
    job.run("one", environment=LIGHT)
    with no_server_left():
        events = job.run("many", "--ray", light_cluster.address)

    expected = job.rows("one")
    assert len(expected) > 5_000
    assert list(differences(expected, job.rows("many"))) == []
    assert notices(events).count("embeds now, too") == 3
    assert events[-1]["event"] == "summary"


def test_the_address_comes_from_ray_s_own_variable_where_auto_is_asked_for(
    job: RayJob, light_cluster: RayCluster
) -> None:
    job.run(
        "automatic",
        "--ray",
        "auto",
        "--limit",
        "3",
        environment={"RAY_ADDRESS": light_cluster.address},
    )


def test_lost_workers_and_nodes_cost_their_batches_in_flight_and_nothing_else(
    job: RayJob, cluster: RayCluster
) -> None:
    nodes = [cluster.add_node(environment=SLOW) for _ in range(2)]
    with no_server_left():
        run = job.start("lost", "--ray", cluster.address, "--max-in-flight", "1")
        wait_for(lambda: job.events_text().count("embeds now, too") == 1)
        before = set(servers())
        kill(cluster.workers()[0])
        wait_for(lambda: len(before - set(servers())) == 2)
        wait_for(lambda: job.events_text().count("embeds now, too") == 2)
        nodes.append(cluster.add_node(environment=SLOW))
        wait_for(lambda: f"{nodes[2].name} embeds now, too." in job.events_text())
        kill(nodes[0].raylet)
        wait_for(lambda: f"{nodes[0].name} is left out" in job.events_text())
        events = job.finish(run)
    job.run("one", environment=LIGHT)

    assert list(differences(job.rows("one"), job.rows("lost"))) == []
    assert "what was in flight there is sent again" in notices(events)


def test_a_cluster_that_asks_for_a_token_takes_who_has_it(job: RayJob, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-many-characters-0123456789")
    token.chmod(0o600)
    has_token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    with RayCluster(**has_token) as cluster:
        cluster.add_node(environment=LIGHT)
        job.run("trusted", "--ray", cluster.address, "--limit", "3", environment=has_token)
        run = job.start("stranger", "--ray", cluster.address, "--limit", "3")
        events = job.finish(run, expect=4, in_words_of_ray=True)

    assert "does not take this driver" in events[-1]["message"]
    assert "its token where it asks for one" in events[-1]["remedy"]


def test_a_node_that_cannot_embed_is_left_out_by_name(
    job: RayJob, cluster: RayCluster, tmp_path: Path
) -> None:
    good, bad = cluster.add_node(environment=LIGHT), _node_without_sglang(cluster, tmp_path)

    events = job.run("partly", "--ray", cluster.address)

    assert f"{bad.name} is left out: The embedding server ended while" in notices(events)
    assert f"{good.name} is left out" not in notices(events)


def test_a_run_without_a_usable_node_names_each(
    job: RayJob, cluster: RayCluster, tmp_path: Path
) -> None:
    bad = _node_without_sglang(cluster, tmp_path)

    events = job.run("none", "--ray", cluster.address, expect=4)

    assert events[-1]["message"].startswith(
        f"No node of the Ray cluster embeds. {bad.name}: The embedding server ended while"
    )


def _node_without_sglang(cluster: RayCluster, folder: Path) -> RayNode:
    """Add a node whose SGLang cannot be imported."""
    broken = folder / "broken" / "sglang"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('broken here')")
    return cluster.add_node(environment={"PYTHONPATH": str(broken.parent)})


def test_a_cluster_without_room_is_a_sentence(job: RayJob, light_cluster: RayCluster) -> None:
    events = job.run("big", "--ray", light_cluster.address, "--ray-cpus", "7", expect=2)

    assert events[-1]["message"].startswith("No node of the Ray cluster has 7 cores for a worker")


def test_a_cluster_that_is_not_there_is_a_sentence_at_once(job: RayJob) -> None:
    events = job.run("nowhere", "--ray", "127.0.0.1:9", expect=4)

    assert events[-1]["message"] == "There is no Ray cluster at 127.0.0.1:9."
    assert "ray start --head" in events[-1]["remedy"]


def test_an_address_of_another_kind_is_refused(job: RayJob) -> None:
    events = job.run("client", "--ray", "ray://127.0.0.1:10001", expect=2)

    assert "is neither auto nor HOST:PORT" in events[-1]["message"]


def test_a_head_that_dies_ends_the_run_with_its_code_and_the_next_one_goes_on(
    job: RayJob, cluster: RayCluster
) -> None:
    cluster.add_node(environment=NEVER_DONE)
    with no_server_left():
        run = job.start("headless", "--ray", cluster.address)
        wait_for(lambda: '"progress"' in job.events_text())
        kill(cluster.gcs)
        events = job.finish(run, expect=4, in_words_of_ray=True)
    with RayCluster() as other:
        other.add_node(environment=LIGHT)
        job.run("headless", "--ray", other.address)
    job.run("one", environment=LIGHT)

    assert events[-1]["message"] == "The head of the Ray cluster has not answered for 45 s."
    assert list(differences(job.rows("one"), job.rows("headless"))) == []


def test_a_dead_node_of_the_driver_ends_the_run_with_the_same_code(
    job: RayJob, cluster: RayCluster
) -> None:
    cluster.add_node(environment=NEVER_DONE)
    with no_server_left():
        run = job.start("nodeless", "--ray", cluster.address)
        wait_for(lambda: '"progress"' in job.events_text())
        kill(cluster.raylet_of_head)
        events = job.finish(run, expect=4, in_words_of_ray=True)

    # Ray ends the process, unless the worker is seen to be lost before.
    assert events[-1]["message"].startswith(("Ray ended the run: ", "No node of the Ray cluster"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_in_order(
    job: RayJob, cluster: RayCluster, number: signal.Signals
) -> None:
    for _ in range(2):
        cluster.add_node(environment=SLOW)
    with no_server_left():
        run = job.start("stopped", "--ray", cluster.address, "--max-in-flight", "1")
        wait_for(lambda: "embeds now" in job.events_text())
        run.send_signal(number)
        events = job.finish(run, expect=130)

    assert events[-1]["message"] == "interrupted"


def test_a_run_without_ray_imports_nothing_of_it(job: RayJob) -> None:
    program = (
        "import sys\n"
        "from embed_index.jobs.main import cli\n"
        "try:\n"
        "    cli(sys.argv[1:])\n"
        "finally:\n"
        "    assert not [name for name in sys.modules if name.split('.')[0] == 'ray']\n"
        "    assert not [name for name in sys.modules if 'pipeline.cluster' in name]\n"
    )
    arguments = job.arguments("without", "--limit", "3")[3:]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | LIGHT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr


def doctor(job: RayJob, *arguments: str, environment: Mapping[str, str]) -> list[dict[str, str]]:
    program = [sys.executable, "-m", "embed_index.jobs.main", "doctor", "--json"]
    where = ["--state-dir", str(job.folder / "state"), "--milvus-uri", job.uri]
    done = subprocess.run(
        [*program, *where, "--model", str(job.model), *arguments],
        env=os.environ | dict(environment),
        capture_output=True,
        text=True,
    )
    checks: list[dict[str, str]] = json.loads(done.stdout)
    return checks


def test_doctor_looks_at_each_node_and_at_what_keeps_strangers_out(
    job: RayJob, light_cluster: RayCluster, tmp_path: Path
) -> None:
    checks = doctor(job, "--ray", light_cluster.address, environment={"RAY_AUTH_MODE": ""})

    found = {check["subject"]: check for check in checks}
    assert found["Ray"]["outcome"] == "ok"
    assert found["Ray token"]["found"].startswith("RAY_AUTH_MODE is not token")
    assert found["Ray TLS"]["outcome"] == "warning"
    assert found["Ray cluster"]["found"].startswith("5 nodes, 0 GPUs")
    nodes = [check for check in checks if check["subject"] == "node"]
    assert len(nodes) == 5
    assert all("GiB free for spilling" in node["found"] for node in nodes)
    assert {node["outcome"] for node in nodes} <= {"ok", "warning"}

    token = tmp_path / "token"
    token.write_text("0123456789")
    token.chmod(0o644)
    guarded = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    checks = doctor(job, "--ray", "127.0.0.1:9", environment=guarded)
    problems = {check["subject"]: check for check in checks if check["outcome"] == "problem"}
    assert "is open to others (mode 0644)" in problems["Ray token"]["found"]
    assert problems["Ray cluster"]["found"] == "There is no Ray cluster at 127.0.0.1:9."


WHISPERING = """
import sys
if any(word.endswith("default_worker.py") for word in sys.orig_argv):
    from pathlib import Path
    from embed_index.pipeline.server.process import ManagedServer
    start = ManagedServer.start

    def tell_and_start(server):
        key = server.key.get_secret_value()
        (Path({folder!r}) / key[:8]).write_text(key)
        start(server)

    ManagedServer.start = tell_and_start
"""
"""Python's start on a node, told to whisper the random key of each server to the test."""


def test_no_key_and_no_text_stands_in_rays_files_or_in_any_process(
    job: RayJob, cluster: RayCluster, tmp_path: Path
) -> None:
    whispered, hook = tmp_path / "whispered", tmp_path / "hook"
    for folder in (whispered, hook):
        folder.mkdir()
    (hook / "sitecustomize.py").write_text(WHISPERING.format(folder=str(whispered)))
    path = f"{hook}{os.pathsep}{LIGHT['PYTHONPATH']}"
    for _ in range(2):
        cluster.add_node(environment=SLOW | {"PYTHONPATH": path})
    run = job.start("secret", "--ray", cluster.address, "--max-in-flight", "1")
    wait_for(lambda: "embeds now, too" in job.events_text() and len(list(whispered.iterdir())) == 2)
    keys = [file.read_text() for file in whispered.iterdir()]
    during = [hunt(key, folders=[cluster.folder]) for key in keys]
    kill(cluster.workers()[0])
    job.finish(run)
    text = next(iter(job.rows("secret").values())).text
    assert text is not None
    after = [hunt(secret, folders=[cluster.folder]) for secret in (*keys, text[:40])]

    assert all(num_read > 50 and hits == [] for num_read, hits in during + after)
    shown = cluster.folder / "planted"
    shown.write_text(f"... {keys[0]} ...")
    assert hunt(keys[0], folders=[cluster.folder])[1] == [str(shown)]


@pytest.mark.slow
def test_two_real_servers_write_the_rows_of_one_and_other_models_are_left_out(
    job: RayJob, cluster: RayCluster
) -> None:
    """Two nodes have SGLang itself, two its stand-in, whose vectors are others."""
    # SGLang on the CPU is slow with requests of a few hundred tokens.
    job.more = ["--batch-tokens", "8192"]
    job.run("one")
    job.run("many", "--limit", "3")
    for _ in range(2):
        cluster.add_node()
    light = [cluster.add_node(environment=LIGHT) for _ in range(2)]
    with no_server_left():
        events = job.run("many", "--ray", cluster.address)

    assert list(differences(job.rows("one"), job.rows("many"))) == []
    for node in light:
        assert f"{node.name} is left out: many_v1: the embedding server gives the canary" in (
            notices(events)
        )
