"""Kills runs at random moments and compares what is left with an undisturbed collection.

Corpora follow each other at random, so that runs insert, change, shrink, move and delete
documents over whatever the killed runs before them left behind.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_index.jobs.adapters.places import lock_path
from embed_index.pipeline.milvus.store import open_store
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.schemas.settings import JobSettings

NUM_STATES = 6
MAX_VECTOR_DIFFERENCE = 1e-5
"""Float32 sums come out in another order in another batch."""

Rows = dict[str, StoredChunk]


def write_state(folder: Path, *, state: int, num_documents: int) -> None:
    """Write one of the corpora: documents come and go, grow, shrink, change and move."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    rng = random.Random(state)
    rows = []
    for number in range(num_documents):
        fate = (number * 7 + state * 3) % 10
        if fate == 0:
            continue
        version = state if fate in (1, 2, 3) else 0
        num_sentences = rng.randint(1, 60) if fate in (2, 3) else 20 + number % 30
        text = " ".join(
            f"Part {sentence} of document {number} in version {version} speaks of pump"
            f" {(sentence * 13 + version) % 97}."
            for sentence in range(num_sentences)
        )
        rows.append(
            {"id": f"doc-{number}", "text": text, "topic": f"t{version if fate == 4 else 0}"}
        )
    rng.shuffle(rows)
    middle = rng.randint(1, len(rows) - 1)
    for name, part in (("a", rows[:middle]), ("b", rows[middle:])):
        pq.write_table(pa.Table.from_pylist(part), folder / f"{name}.parquet", row_group_size=16)


@dataclass(kw_only=True)
class KillHarness:
    folder: Path
    uri: str
    model: Path
    server_url: str
    server_key: str
    seed: int = 0
    num_documents: int = 60
    collection: str = "killed"
    num_kills: int = 0
    num_differences: int = 0
    _expected: dict[int, Rows] = field(default_factory=dict)
    _seconds: float = 1.0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def expect(self) -> None:
        """Index every corpus once, undisturbed, each into a collection of its own."""
        for state in range(NUM_STATES):
            write_state(self._corpus, state=state, num_documents=self.num_documents)
            name = f"{self.collection}_expected_{state}"
            began = time.monotonic()
            self.finish(name)
            self._seconds = time.monotonic() - began
            self._expected[state] = self.rows(name)

    def disturb(self, *, num_kills: int) -> None:
        """Kill runs until the number is reached, letting one finish after every one to three."""
        while self.num_kills < num_kills:
            for _ in range(min(self._rng.randint(1, 3), num_kills - self.num_kills)):
                state = self._rng.randrange(NUM_STATES)
                write_state(self._corpus, state=state, num_documents=self.num_documents)
                self._kill_one()
            self.finish(self.collection)
            self.num_differences += len(list(self.differences(state)))

    def differences(self, state: int) -> Iterator[str]:
        """Name what differs from the undisturbed collection."""
        yield from differences(self._expected[state], self.rows(self.collection))

    def rows(self, collection: str) -> Rows:
        with open_store(self.uri, connect_seconds=60.0) as store:
            version = store.versions.live(collection)
            if version is None:
                return {}
            chunks = store.reader.iter_chunks(version, with_text=True, with_vectors=True)
            rows = {chunk.chunk_id: chunk for chunk in chunks}
            assert store.reader.count(version) == len(rows)
        return rows

    def start(self, collection: str, *more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self._command(collection), *more],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, collection: str) -> None:
        done = subprocess.run(
            self._command(collection), env=self._environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def _kill_one(self) -> None:
        """Kill a run at a random moment after it took the lock, if it lasts that long."""
        process = subprocess.Popen(
            self._command(self.collection),
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        where = JobSettings(state_dir=self.folder / "state", milvus_uri=self.uri)
        lock = lock_path(where, self.collection)
        while process.poll() is None and not (lock.exists() and lock.stat().st_size):
            time.sleep(0.002)
        try:
            process.wait(self._rng.uniform(0, self._seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.num_kills += 1

    @property
    def _corpus(self) -> Path:
        return self.folder / "corpus"

    @property
    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "EMBEDDING_API_BASE": self.server_url,
            "EMBEDDING_API_KEY": self.server_key,
        }

    def _command(self, collection: str) -> list[str]:
        return [
            sys.executable, "-m", "embed_index.jobs.main", "run",
            "--input", str(self._corpus), "--carry", "topic", "--collection", collection,
            "--milvus-uri", self.uri, "--state-dir", str(self.folder / "state"),
            "--model", str(self.model), "--max-tokens", "64", "--dimension", "64",
            "--batch-tokens", "512", "--delete-missing", "--force", "--quiet",
        ]  # fmt: skip


def differences(expected: Rows, found: Rows) -> Iterator[str]:
    """Name the rows that are not the same, and in what."""
    yield from (f"{key}: missing" for key in expected.keys() - found.keys())
    yield from (f"{key}: too many" for key in found.keys() - expected.keys())
    for key in expected.keys() & found.keys():
        yield from _differences(expected[key], found[key])


def _differences(expected: StoredChunk, found: StoredChunk) -> Iterator[str]:
    for name in StoredChunk.__slots__:
        # Rows keep the place where their document stood when they were written.
        if name not in {"source", "vector"} and getattr(expected, name) != getattr(found, name):
            yield f"{expected.chunk_id}: {name}"
    assert expected.vector is not None
    assert found.vector is not None
    if np.abs(expected.vector - found.vector).max() > MAX_VECTOR_DIFFERENCE:
        yield f"{expected.chunk_id}: vector"
