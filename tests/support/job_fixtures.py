"""Whole runs in this process: real Parquet, tokenizer, ledger and Milvus, hashed vectors."""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hash_embedding_server import HashEmbeddingServer

from embed_index.jobs.adapters.places import ledger_path, lock_path
from embed_index.jobs.main import cli
from embed_index.pipeline.indexing import Indexing
from embed_index.pipeline.milvus.store import MilvusStore, open_store
from embed_index.schemas.ids import text_hash
from embed_index.schemas.settings import JobSettings


@pytest.fixture(scope="session")
def hash_server() -> Iterator[HashEmbeddingServer]:
    with HashEmbeddingServer() as server:
        yield server


@dataclass(kw_only=True)
class JobFolder:
    """A corpus, a state folder and a collection that belong together."""

    folder: Path
    uri: str
    model: Path
    server: HashEmbeddingServer
    collection: str = field(default_factory=lambda: f"j_{uuid.uuid4().hex[:12]}")

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def ledger(self) -> Path:
        return ledger_path(self.settings, self.collection)

    @property
    def lock(self) -> Path:
        return lock_path(self.settings, self.collection)

    @property
    def settings(self) -> JobSettings:
        """What says where state and Milvus are."""
        return JobSettings(state_dir=self.state, milvus_uri=self.uri, collection=self.collection)

    @property
    def environment(self) -> dict[str, str]:
        return {"EMBEDDING_API_BASE": self.server.url, "EMBEDDING_API_KEY": self.server.key}

    def write(self, documents: Mapping[str, str | None], *, file: str = "a.parquet") -> None:
        path = self.folder / "corpus" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {
            "id": list(documents),
            "text": list(documents.values()),
            "topic": [f"topic of {doc_id}" for doc_id in documents],
        }
        schema = pa.schema([(name, pa.string()) for name in columns])
        pq.write_table(pa.table(columns, schema), path)

    def arguments(self, *more: str) -> list[str]:
        flags = {
            "--input": str(self.folder / "corpus"),
            "--collection": self.collection,
            "--milvus-uri": self.uri,
            "--model": str(self.model),
            "--max-tokens": "64",
            "--dimension": "64",
            "--state-dir": str(self.state),
        }
        given = [part for name, value in flags.items() for part in (name, value)]
        return ["run", *given, *more]

    def run(
        self, *more: str, expect: int = 0, environment: Mapping[str, str] | None = None
    ) -> Result:
        return self.call(*self.arguments(*more), expect=expect, environment=environment)

    def on_collection(
        self,
        command: str,
        *more: str,
        expect: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        where = ["--milvus-uri", self.uri, "--state-dir", str(self.state)]
        return self.call(
            command, self.collection, *more, *where, expect=expect, environment=environment
        )

    def on_ledger(self, command: str, *more: str, expect: int = 0) -> Result:
        where = ["--state-dir", str(self.state)]
        return self.call(command, self.collection, *more, *where, expect=expect)

    def history(self) -> list[dict[str, Any]]:
        """Return the runs, newest first."""
        runs: list[dict[str, Any]] = json.loads(self.on_ledger("history", "--json").stdout)
        return runs

    def call(
        self, *arguments: str, expect: int = 0, environment: Mapping[str, str] | None = None
    ) -> Result:
        """Give a command on this job's server, or on the one that `environment` names."""
        done = CliRunner().invoke(cli, arguments, env=environment or self.environment)
        assert done.exit_code == expect, done.output
        return done

    def open_store(self) -> MilvusStore:
        return open_store(self.uri, connect_seconds=60.0)

    def live(self) -> str | None:
        with self.open_store() as store:
            return store.versions.live(self.collection)

    def versions(self) -> list[str]:
        """Return the numbers behind the alias, such as `v1`."""
        with self.open_store() as store:
            names = store.versions.list(self.collection)
        return [name.removeprefix(f"{self.collection}_") for name in names]

    def doc_hashes(self, version: str) -> dict[str, str]:
        """Return the content hash of each document of a version such as `v1`."""
        with self.open_store() as store:
            keys = store.reader.iter_keys(f"{self.collection}_{version}")
            return {key.doc_id: key.doc_hash for key in keys}


def hashes_of(documents: Mapping[str, str]) -> dict[str, str]:
    return {doc_id: text_hash(text) for doc_id, text in documents.items()}


def stop_after_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs end as by SIGTERM once something is committed."""
    commit = Indexing._commit

    def commit_and_stop(self: Indexing, documents: list[object]) -> None:
        commit(self, documents)  # type: ignore[arg-type]
        self.stop()

    monkeypatch.setattr(Indexing, "_commit", commit_and_stop)


@pytest.fixture
def lite_job(tmp_path: Path, sample_model: Path, hash_server: HashEmbeddingServer) -> JobFolder:
    """A job on Milvus Lite."""
    return JobFolder(
        folder=tmp_path, uri=str(tmp_path / "store.db"), model=sample_model, server=hash_server
    )


@pytest.fixture
def job(
    milvus_uri: str, tmp_path: Path, sample_model: Path, hash_server: HashEmbeddingServer
) -> JobFolder:
    """A job on each Milvus target."""
    return JobFolder(folder=tmp_path, uri=milvus_uri, model=sample_model, server=hash_server)
