"""What searches by meaning, by words and by both find in the sample corpus, as a table.

    python tests/benchmarks/check_modes.py
    python tests/benchmarks/check_modes.py --analyzer chinese     # needs the package jieba

The corpus is the sample's with the code pages beside it, at 256 dimensions, on Milvus Lite, and
embedded by a real server with the sample model. nDCG counts a document once, at its best chunk.
"""

import argparse
import asyncio
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from sglang_fixtures import MAX_TOKENS, SAMPLE_WIDTH, cpu_profile

from embed_index import Collection, open_collection
from embed_index.jobs.main import cli
from embed_index.pipeline.server.process import ManagedServer

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / ".cache" / "sample-model"
SAMPLE = ROOT / "sample_data"
DEPTH = 10
WAYS: dict[str, dict[str, Any]] = {
    "dense": {"mode": "dense"},
    "text": {"mode": "text"},
    "hybrid": {"mode": "hybrid"},
    "hybrid, weights 0.7 0.3": {"mode": "hybrid", "weights": (0.7, 0.3)},
    "hybrid, weights 0.5 0.5": {"mode": "hybrid", "weights": (0.5, 0.5)},
}


@contextmanager
def running_server(folder: Path) -> Iterator[ManagedServer]:
    """Serve the sample model."""
    server = ManagedServer(cpu_profile(MODEL, max_tokens=MAX_TOKENS), log_folder=folder)
    server.start()
    try:
        asyncio.run(server.wait_ready(dimension=SAMPLE_WIDTH))
        yield server
    finally:
        asyncio.run(server.stop())


def index_sample(database: Path, *, state: Path, url: str, key: str, analyzer: str) -> None:
    """Index the sample corpus and the code pages with text search."""
    arguments = [
        "run", str(SAMPLE / "job.toml"), "--input", str(SAMPLE / "corpus"),
        "--input", str(SAMPLE / "codes"), "--model", str(MODEL), "--milvus-uri", str(database),
        "--state-dir", str(state), "--text-search", "--text-analyzer", analyzer,
    ]  # fmt: skip
    environment = {"EMBEDDING_API_BASE": url, "EMBEDDING_API_KEY": key}
    done = CliRunner().invoke(cli, arguments, env=environment)
    assert done.exit_code == 0, done.output


def read_questions(path: Path) -> list[dict[str, Any]]:
    """Return queries with the documents that answer them."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def answers(
    collection: Collection, questions: Sequence[dict[str, Any]], way: dict[str, Any]
) -> list[list[str]]:
    """Return the ids of the documents that each question finds, the best first."""
    found = collection.search(
        [question["query"] for question in questions], limit=DEPTH, group_by="document", **way
    )
    return [[hit.doc_id for hit in hits] for hits in found]


def hit_rate(
    found: Sequence[Sequence[str]], questions: Sequence[dict[str, Any]], *, depth: int
) -> float:
    """Return the share of questions with an answer among the first hits."""
    met = [
        bool({*ids[:depth]} & {*question["doc_ids"]})
        for ids, question in zip(found, questions, strict=True)
    ]
    return sum(met) / len(met)


def ndcg(found: Sequence[Sequence[str]], questions: Sequence[dict[str, Any]]) -> float:
    """Return nDCG at `DEPTH`, every answer worth the same."""

    def gain(places: Iterator[int]) -> float:
        return sum(1.0 / math.log2(place + 2) for place in places)

    scores = []
    for ids, question in zip(found, questions, strict=True):
        wanted = {*question["doc_ids"]}
        best = gain(iter(range(min(len(wanted), DEPTH))))
        scores.append(gain(place for place, name in enumerate(ids) if name in wanted) / best)
    return sum(scores) / len(scores)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--analyzer", default="standard")
    options = parser.parse_args()
    sets = {
        "questions": read_questions(SAMPLE / "queries.jsonl"),
        "codes": read_questions(SAMPLE / "codes" / "queries.jsonl"),
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with running_server(place / "logs") as server:
            url, key = server.endpoint.url, server.key.get_secret_value()
            state = place / "state"
            index_sample(
                place / "modes.db", state=state, url=url, key=key, analyzer=options.analyzer
            )
            with open_collection(
                "sample", milvus_uri=str(place / "modes.db"), server_url=url, key=key, model=MODEL
            ) as collection:
                show(collection, sets)


def show(collection: Collection, sets: dict[str, list[dict[str, Any]]]) -> None:
    """Print a line a way to search."""
    columns = [f"{name}: {measure}" for name in sets for measure in ("hit rate at 5", "nDCG@10")]
    print(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, way in WAYS.items():
        figures = []
        for questions in sets.values():
            found = answers(collection, questions, way)
            figures += [hit_rate(found, questions, depth=5), ndcg(found, questions)]
        print(f"| {name} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")


if __name__ == "__main__":
    main()
