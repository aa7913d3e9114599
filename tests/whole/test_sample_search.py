"""The demonstration's promise: the sample queries find the documents that answer them."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sglang_fixtures import MAX_TOKENS, SAMPLE_VOCABULARY, RunningServer

from embed_index.pipeline.embedding.client import ClientLimits, EmbeddingClient
from embed_index.pipeline.milvus.store import open_store
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.schemas.records import Vectors

MIN_HIT_RATE = 0.9


@pytest.mark.timeout(900)
def test_sample_queries_find_their_documents_among_the_first_five(
    tmp_path: Path,
    repository: Path,
    sample_model: Path,
    sglang_server: RunningServer,
    tokenizer: ModelTokenizer,
) -> None:
    database = tmp_path / "sample.db"
    subprocess.run(
        [sys.executable, "-m", "embed_index.jobs.main", "run",
         str(repository / "sample_data" / "job.toml"), "--model", str(sample_model),
         "--milvus-uri", str(database), "--state-dir", str(tmp_path / "state")],
        check=True,
        env=os.environ
        | {
            "EMBEDDING_API_BASE": sglang_server.server.url,
            "EMBEDDING_API_KEY": sglang_server.server.key.get_secret_value(),
        },
    )  # fmt: skip
    lines = (repository / "sample_data" / "queries.jsonl").read_text().splitlines()
    queries = [json.loads(line) for line in lines]

    with open_store(str(database)) as store:
        contract = store.versions.contract("sample_v1")

        async def embed() -> Vectors:
            limits = ClientLimits(vocab_size=SAMPLE_VOCABULARY, max_tokens=MAX_TOKENS)
            async with EmbeddingClient(sglang_server.server.endpoint, limits=limits) as client:
                ids = [
                    tokenizer.encode_for_model(contract.query_prompt + query["query"])
                    for query in queries
                ]
                return await client.embed(ids, dimension=contract.dimension)

        vectors = asyncio.run(embed())
        hits = [
            any(
                hit.chunk.doc_id in query["doc_ids"]
                for hit in store.reader.search("sample", vector, limit=5)
            )
            for query, vector in zip(queries, vectors, strict=True)
        ]

    assert len(hits) == 40
    assert sum(hits) / len(hits) >= MIN_HIT_RATE
