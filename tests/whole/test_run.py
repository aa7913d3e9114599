"""The whole job on real parts: Parquet, SGLang on the CPU, Milvus."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hash_embedding_server import HashEmbeddingServer
from sglang_fixtures import RunningServer

from embed_index.jobs.adapters import places
from embed_index.jobs.main import cli
from embed_index.pipeline.milvus.store import open_store
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.schemas.ids import chunk_id, text_hash

Command = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def embed_index(
    tmp_path: Path,
    sample_model: Path,
    sglang_server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """The command line, in a folder of its own, with the session's server."""
    monkeypatch.setenv("EMBEDDING_API_BASE", sglang_server.server.url)
    monkeypatch.setenv("EMBEDDING_API_KEY", sglang_server.server.key.get_secret_value())

    def call(*arguments: str, expect: int = 0) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "embed_index.jobs.main", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == expect, done.stderr
        return done

    return call


def write(path: Path, rows: dict[str, str | None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": list(rows), "text": list(rows.values())}), path)
    return path


def stored(uri: str, collection: str) -> dict[str, StoredChunk]:
    with open_store(uri) as store:
        version = store.versions.live(collection)
        assert version is not None
        chunks = list(store.reader.iter_chunks(version, with_text=True, with_vectors=True))
        assert store.reader.count(version) == len(chunks)
    return {chunk.chunk_id: chunk for chunk in chunks}


def job(tmp_path: Path, sample_model: Path, **more: object) -> list[str]:
    flags = {
        "input": tmp_path / "corpus",
        "collection": "docs",
        "milvus-uri": tmp_path / "docs.db",
        "model": sample_model,
        "max-tokens": 64,
        "dimension": 64,
    } | more
    return ["run", *(part for name, value in flags.items() for part in (f"--{name}", str(value)))]


def test_a_corpus_becomes_a_collection_with_every_field(
    tmp_path: Path, sample_model: Path, embed_index: Command
) -> None:
    text = "The pump was replaced. " * 40
    write(tmp_path / "corpus" / "a.parquet", {"long": text, "short": "Printers jam."})

    embed_index(*job(tmp_path, sample_model))
    rows = stored(str(tmp_path / "docs.db"), "docs")
    chunks = sorted((r for r in rows.values() if r.doc_id == "long"), key=lambda r: r.chunk_index)

    assert "".join(chunk.text or "" for chunk in chunks) == text
    assert {chunk.num_chunks for chunk in chunks} == {len(chunks)}
    assert [c.chunk_id for c in chunks] == [chunk_id("long", i) for i in range(len(chunks))]
    assert {chunk.doc_hash for chunk in chunks} == {text_hash(text)}
    assert all(0 < chunk.num_tokens <= 64 for chunk in chunks)
    assert all(text[c.char_start : c.char_end] == c.text for c in chunks)
    assert rows[chunk_id("short", 0)].source == "a.parquet#0:1"
    norms = [np.linalg.norm(chunk.vector) for chunk in rows.values() if chunk.vector is not None]
    assert np.allclose(norms, 1.0, atol=1e-5)
    assert len(norms) == len(rows)


def test_the_next_run_embeds_only_what_changed(
    tmp_path: Path, sample_model: Path, embed_index: Command
) -> None:
    corpus = tmp_path / "corpus"
    documents: dict[str, str | None] = {f"d{n}": f"Text number {n}. " * 30 for n in range(5)}
    write(corpus / "a.parquet", documents)
    first = summary(embed_index(*job(tmp_path, sample_model), "--log-format", "json"))
    documents["d1"] = "Something else altogether."
    documents["d2"] = (documents["d2"] or "") + "A new last sentence, with a pump."
    del documents["d3"]
    documents["d5"] = "A new document."
    write(corpus / "a.parquet", documents)

    second = summary(
        embed_index(
            *job(tmp_path, sample_model), "--log-format", "json", "--delete-missing",
            "--max-delete-share", "0.5",
        )
    )  # fmt: skip
    rows = stored(str(tmp_path / "docs.db"), "docs")

    assert first["num_new"] == 5
    counts = {name: second[f"num_{name}"] for name in ("new", "changed", "refreshed", "deleted")}
    assert counts == {"new": 1, "changed": 2, "refreshed": 0, "deleted": 1}
    assert second["num_chunks_embedded"] < 5
    # Of the document that grew; the one that moved up a row was not written at all.
    assert second["num_chunks_reused"] > 0
    for doc_id, text in documents.items():
        chunks = sorted(
            (row for row in rows.values() if row.doc_id == doc_id), key=lambda row: row.chunk_index
        )
        assert "".join(chunk.text or "" for chunk in chunks) == text
    assert {row.doc_id for row in rows.values()} == set(documents)


def summary(done: "subprocess.CompletedProcess[str]") -> dict[str, int]:
    result: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_moving_documents_between_files_embeds_nothing(
    tmp_path: Path, sample_model: Path, embed_index: Command
) -> None:
    documents: dict[str, str | None] = {f"d{n}": f"Text number {n}. " * 30 for n in range(6)}
    file = write(tmp_path / "corpus" / "a.parquet", documents)
    embed_index(*job(tmp_path, sample_model))
    before = stored(str(tmp_path / "docs.db"), "docs")
    file.unlink()
    write(tmp_path / "corpus" / "b.parquet", dict(list(documents.items())[3:]))
    write(tmp_path / "corpus" / "c.parquet", dict(list(documents.items())[:3]))

    done = summary(embed_index(*job(tmp_path, sample_model), "--log-format", "json"))
    after = stored(str(tmp_path / "docs.db"), "docs")

    assert (done["num_unchanged"], done["num_chunks_embedded"]) == (6, 0)
    # Nothing was written: the rows tell where the documents stood when they were.
    assert after[chunk_id("d0", 0)].source == "a.parquet#0:0"
    assert before.keys() == after.keys()
    for key, chunk in before.items():
        assert np.array_equal(chunk.vector, after[key].vector)  # type: ignore[arg-type]


def test_a_lost_ledger_is_rebuilt_and_nothing_is_embedded_again(
    tmp_path: Path, sample_model: Path, embed_index: Command
) -> None:
    write(tmp_path / "corpus" / "a.parquet", {"a": "Printers jam. " * 50, "b": "Pumps leak."})
    embed_index(*job(tmp_path, sample_model))
    for file in (tmp_path / ".embed-index").glob("docs@*.ledger*"):
        file.unlink()

    done = summary(embed_index(*job(tmp_path, sample_model), "--log-format", "json"))

    assert (done["num_unchanged"], done["num_chunks_embedded"]) == (2, 0)


def test_bad_rows_become_dead_letters_and_the_run_goes_on(
    tmp_path: Path, sample_model: Path, embed_index: Command
) -> None:
    write(tmp_path / "corpus" / "a.parquet", {"a": "Good.", "b": None, "c": ""})
    write(tmp_path / "corpus" / "b.parquet", {"a": "The same id again."})

    done = embed_index(*job(tmp_path, sample_model), "--log-format", "json", expect=3)
    letters = pq.read_table(summary(done)["dead_letters_file"]).to_pylist()

    assert [(x["doc_id"], x["file"], x["row"], x["reason"]) for x in letters] == [
        ("b", "a.parquet", 1, "null_text"),
        ("c", "a.parquet", 2, "empty_text"),
        ("a", "b.parquet", 0, "duplicate_id"),
    ]
    assert [row.text for row in stored(str(tmp_path / "docs.db"), "docs").values()] == ["Good."]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ({"input": "nothing.parquet"}, 2, "nothing.parquet does not exist"),
        ({"id-column": "key"}, 2, "no column 'key'"),
        ({"text-column": "body"}, 2, "no column 'body'"),
        ({"dimension": 5000}, 2, "dimension: 5000"),
        ({"max-tokens": 40_000}, 2, "max_tokens"),
        ({"max-tokens": 5}, 2, "leaves no room"),
        ({"document-instruction": "word " * 100}, 2, "leaves no room"),
        ({"model": "no-such-folder/"}, 2, "no-such-folder"),
        ({"carry": "missing"}, 2, "no column 'missing'"),
        ({"server-url": "http://127.0.0.1:1"}, 4, "127.0.0.1:1"),
        ({"milvus-uri": "http://127.0.0.1:1"}, 4, "127.0.0.1:1"),
    ],
)
def test_what_cannot_work_ends_before_any_work_with_a_message_and_a_remedy(
    tmp_path: Path,
    sample_model: Path,
    hash_server: HashEmbeddingServer,
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, object],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "open_store", partial(open_store, connect_seconds=0.5))
    write(tmp_path / "corpus" / "a.parquet", {"a": "Good."})

    environment = {"EMBEDDING_API_BASE": hash_server.url, "EMBEDDING_API_KEY": hash_server.key}
    done = CliRunner().invoke(cli, job(tmp_path, sample_model, **flags), env=environment)

    assert done.exit_code == code, done.output
    error, *remedy = done.stderr.strip().splitlines()
    assert message in error
    assert remedy
    assert "Traceback" not in done.stderr


def test_a_query_finds_its_document_from_the_contract_alone(
    tmp_path: Path, sample_model: Path, embed_index: Command
) -> None:
    write(
        tmp_path / "corpus" / "a.parquet",
        {"printer": "The printer in the hall jams.", "coffee": "Descale the coffee machine."},
    )
    embed_index(*job(tmp_path, sample_model))

    done = embed_index(
        "search", "docs", "coffee machine", "--json", "--milvus-uri", str(tmp_path / "docs.db"),
        "--model", str(sample_model),
    )  # fmt: skip
    described = embed_index("describe", "docs", "--milvus-uri", str(tmp_path / "docs.db"), "--json")

    assert json.loads(done.stdout)[0]["doc_id"] == "coffee"
    contract = json.loads(described.stdout)["contract"]
    assert contract["query_prompt"].startswith("Instruct: ")
    assert contract["dimension"] == 64
