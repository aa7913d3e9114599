"""The demonstration's promise: the sample queries find the documents that answer them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sglang_fixtures import RunningServer

from embed_index import Collection, open_collection
from embed_index.schemas.modes import SearchMode

MIN_HIT_RATE = 0.9


@pytest.fixture(scope="module")
def sample(
    tmp_path_factory: pytest.TempPathFactory,
    repository: Path,
    sample_model: Path,
    sglang_server: RunningServer,
) -> Iterator[Collection]:
    """The sample corpus with the code pages beside it, and with text search."""
    place = tmp_path_factory.mktemp("sample")
    server, data = sglang_server.server, repository / "sample_data"
    key = server.key.get_secret_value()
    subprocess.run(
        [sys.executable, "-m", "embed_index.jobs.main", "run", str(data / "job.toml"),
         "--input", str(data / "corpus"), "--input", str(data / "codes"), "--text-search",
         "--model", str(sample_model), "--milvus-uri", str(place / "sample.db"),
         "--state-dir", str(place / "state")],
        check=True,
        env=os.environ | {"EMBEDDING_API_BASE": server.url, "EMBEDDING_API_KEY": key},
    )  # fmt: skip
    with open_collection(
        "sample",
        milvus_uri=str(place / "sample.db"),
        server_url=server.url,
        key=key,
        model=sample_model,
    ) as collection:
        yield collection


def hit_rate(collection: Collection, queries: Path, *, mode: SearchMode) -> float:
    """Return the share of queries with an answer among the first five hits."""
    asked = [json.loads(line) for line in queries.read_text(encoding="utf-8").splitlines()]
    found = collection.search([query["query"] for query in asked], mode=mode, limit=5)
    met = [
        any(hit.doc_id in query["doc_ids"] for hit in hits)
        for query, hits in zip(asked, found, strict=True)
    ]
    return sum(met) / len(met)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["dense", "hybrid"])
def test_sample_queries_find_their_documents_among_the_first_five(
    sample: Collection, repository: Path, mode: SearchMode
) -> None:
    queries = repository / "sample_data" / "queries.jsonl"

    assert len(queries.read_text(encoding="utf-8").splitlines()) == 40
    assert hit_rate(sample, queries, mode=mode) >= MIN_HIT_RATE


@pytest.mark.timeout(900)
def test_words_find_the_codes_that_meaning_misses(sample: Collection, repository: Path) -> None:
    queries = repository / "sample_data" / "codes" / "queries.jsonl"

    rates = [hit_rate(sample, queries, mode=mode) for mode in ("dense", "text", "hybrid")]

    assert rates[0] < 0.5
    assert rates[1] == 1.0
    assert rates[2] > rates[0]
