"""One run of the sample corpus whose server is killed and stopped again and again."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embed_index.pipeline.milvus.store import open_store
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.pipeline.server.process_group import living_members

NUM_KILLS, NUM_STOPS = 10, 2
SHARE_WHILE_STARTING = 0.25


def wait_for(condition: Callable[[], bool], *, seconds: float = 180) -> None:
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        pause.wait(0.02)


class Run:
    """A job in a process of its own, and the server that it started."""

    def __init__(self, folder: Path, *, model: Path, corpus: Path) -> None:
        self.folder = folder
        folder.mkdir()
        flags = {
            "input": corpus,
            "collection": "chaos",
            "milvus-uri": folder / "chaos.db",
            "model": model,
            "dimension": 64,
            "max-tokens": 128,
            "overlap-tokens": 48,
            "batch-tokens": 512,
            "request-timeout-seconds": 4,
            "start-timeout-seconds": 120,
            "max-dead-letters": 20,
            "log-format": "json",
        }
        options = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        with (folder / "events.jsonl").open("wb") as events:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "embed_index.jobs.main", "run", *options],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=events,
                text=True,
            )

    def guard(self) -> int | None:
        """Process id of the server's guard, which leads its group."""
        children = Path(f"/proc/{self.process.pid}/task")
        for task in children.iterdir() if children.exists() else ():
            for pid in (task / "children").read_text().split():
                if b"pipeline.server.child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        return None

    def wait_for_guard(self, *, other_than: int | None) -> int:
        found: list[int] = []

        def is_new() -> bool:
            assert self.process.poll() is None, "the run ended before all hits were made"
            guard = self.guard()
            if guard is not None and guard != other_than:
                found.append(guard)
            return bool(found)

        wait_for(is_new)
        return found[0]

    def is_ready(self) -> bool:
        logs = (self.folder / ".embed-index" / "logs").glob("*.log")
        newest = max(logs, key=lambda log: log.stat().st_mtime_ns, default=None)
        return newest is not None and b"ready to roll" in newest.read_bytes()

    def finish(self) -> dict[str, int]:
        output, _ = self.process.communicate(timeout=600)
        events = (self.folder / "events.jsonl").read_text()
        assert self.process.returncode == 0, events[-3000:]
        summary: dict[str, int] = json.loads(output.splitlines()[-1])
        return summary

    def notices(self) -> list[str]:
        events = map(json.loads, (self.folder / "events.jsonl").read_text().splitlines())
        return [event["message"] for event in events if event["event"] == "notice"]

    def stored(self) -> dict[str, StoredChunk]:
        with open_store(str(self.folder / "chaos.db")) as store:
            version = store.versions.live("chaos")
            assert version is not None
            rows = list(store.reader.iter_chunks(version, with_text=True, with_vectors=True))
        return {row.chunk_id: row for row in rows}


def disturb(run: Run, *, rng: random.Random) -> None:
    """Hit every life of the server once, at a random moment, some of its processes."""
    signals = [signal.SIGKILL] * NUM_KILLS + [signal.SIGSTOP] * NUM_STOPS
    rng.shuffle(signals)
    pause = threading.Event()
    guard: int | None = None
    for number in signals:
        guard = run.wait_for_guard(other_than=guard)
        # One that is stopped while it starts is found out only by its start's time limit.
        if number == signal.SIGKILL and rng.random() < SHARE_WHILE_STARTING:
            pause.wait(rng.uniform(0, 8))
        else:
            wait_for(run.is_ready)
            pause.wait(rng.uniform(0, 2))
        members = living_members(guard)
        hit = members if number == signal.SIGSTOP else rng.sample(members, rng.randint(1, 2))
        for pid in hit:
            os.kill(pid, number)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_survives_ten_kills_and_two_stops_of_its_server(
    tmp_path: Path, sample_model: Path, sample_corpus: Path
) -> None:
    undisturbed = Run(tmp_path / "calm", model=sample_model, corpus=sample_corpus)
    calm = undisturbed.finish()
    run = Run(tmp_path / "chaos", model=sample_model, corpus=sample_corpus)
    try:
        disturb(run, rng=random.Random(12))
        done = run.finish()
    finally:
        run.process.kill()

    assert len(run.notices()) >= NUM_KILLS + NUM_STOPS
    assert done["num_chunks_embedded"] == calm["num_chunks_embedded"]
    assert done["num_dead_letters"] == calm["num_dead_letters"]
    expected, got = undisturbed.stored(), run.stored()
    assert got.keys() == expected.keys()
    for key, row in expected.items():
        vector, other = row.vector, got[key].vector
        assert vector is not None
        assert other is not None
        np.testing.assert_allclose(other, vector, atol=1e-5)
        assert (got[key].text, got[key].source) == (row.text, row.source)
