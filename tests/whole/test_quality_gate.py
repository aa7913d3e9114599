"""Planted faults against the gate, with a real model: what finds worse does not go live.

The sample corpus' tickets and their questions, the sample model on a real SGLang server.
"""

import json
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from job_fixtures import JobFolder
from sglang_fixtures import RunningServer

from embed_index import open_collection
from embed_index.pipeline.evaluation.quality import Quality
from embed_index.pipeline.ledger.ledger import Ledger

NUM_QUERIES = 16


@pytest.fixture
def tickets(
    job: JobFolder, repository: Path, sglang_server: RunningServer
) -> tuple[JobFolder, list[str]]:
    """A live collection of English tickets on each Milvus target, and the gate's settings."""
    corpus = pq.read_table(repository / "sample_data" / "corpus" / "tickets-en.parquet")
    rows = {row["id"]: row["text"] for row in corpus.select(["id", "text"]).to_pylist()}
    rows = {doc_id: text for doc_id, text in rows.items() if doc_id and text and text.strip()}
    lines = (repository / "sample_data" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [line for line in lines if set(json.loads(line)["doc_ids"]) <= rows.keys()]
    job.write(rows)
    (job.folder / "queries.jsonl").write_text("\n".join(asked[:NUM_QUERIES]), encoding="utf-8")
    server = sglang_server.server
    real = replace(job, server=_Server(server.url, server.key.get_secret_value()))  # type: ignore[arg-type]
    # Chunks of a dozen words cost this model 0.0098: it finds by words, of which each one is there.
    limits = ["--quality-queries", str(job.folder / "queries.jsonl"), "--max-drop", "0.005"]
    real.run("--max-tokens", "256", "--dimension", "256", *limits)
    return real, ["--dimension", "256", *limits]


class _Server:
    """Where a job's server is."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key


@pytest.mark.timeout(900)
def test_planted_faults_do_not_go_live_an_equal_version_does_and_searches_see_no_gap(
    tickets: tuple[JobFolder, list[str]],
) -> None:
    job, limits = tickets
    as_before = ("--max-tokens", "256")
    # The sample model finds by words, and those of a task count as the query's.
    wrong_task = ("--query-instruction", "How coffee machines are descaled and bees swarm. " * 8)
    in_snippets = ("--max-tokens", "17")
    stop, seen, empty, errors = threading.Event(), Counter[str](), [0], list[Exception]()

    def search() -> None:
        with open_collection(
            job.collection, milvus_uri=job.uri, server_url=job.server.url, key=job.server.key,
            model=job.model, state_dir=job.state,
        ) as collection:  # fmt: skip
            while not stop.is_set():
                try:
                    hits = collection.search("the printer eats paper", limit=3)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                    errors.append(error)
                    return
                seen.update(hit.version for hit in hits)
                empty[0] += not hits

    # Milvus Lite is open in one process, and one store of it, only.
    searching = None if job.uri.endswith(".db") else threading.Thread(target=search)
    if searching:
        searching.start()
    try:
        wrong = job.run("--rebuild", *as_before, *wrong_task, *limits, expect=7)
        broken = job.run("--rebuild", *in_snippets, *limits, expect=7)
        live = job.live()
        equal = job.run("--rebuild", *as_before, *limits)
    finally:
        stop.set()
        if searching:
            searching.join()

    name = job.collection
    assert f"{name}_v2 did not go live: its nDCG@10 is" in wrong.stderr
    assert f"{name}_v3 did not go live: its nDCG@10 is" in broken.stderr
    assert live == f"{name}_v1"
    assert f"{name}_v4 goes live with nDCG@10" in equal.stderr
    assert job.live() == f"{name}_v4"
    assert (errors, empty) == ([], [0])
    assert set(seen) <= {f"{name}_v1", f"{name}_v4"}
    assert searching is None or seen[f"{name}_v1"] > 0
    with Ledger(job.ledger) as ledger:
        ndcg = {
            figures.version.rpartition("_")[2]: Quality.from_json(figures.content).ndcg
            for figures in [*ledger.figures.latest(kind="quality")][::-1]
        }
    assert ndcg["v4"] == pytest.approx(ndcg["v1"], abs=1e-6)
    assert max(ndcg["v2"], ndcg["v3"]) < ndcg["v1"] - 0.005
    assert [run["exit_code"] for run in job.history()] == [0, 7, 7, 0]
    assert [round(run["quality"]["nDCG@10"], 9) for run in job.history()][::-1] == [
        round(ndcg[version], 9) for version in ("v1", "v2", "v3", "v4")
    ]
