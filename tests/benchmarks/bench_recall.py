"""How many of the ten nearest each index of a real Milvus server finds, and how fast.

    python tests/benchmarks/bench_recall.py auto hnsw
    python tests/benchmarks/bench_recall.py ivf_flat ivf_sq8 --vectors 20000

The vectors lie in 200 clouds of 48 inner dimensions with some noise in all others, as embeddings
do, which fill no space evenly; queries are some of them, moved a little. What is exact is computed
here.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from pymilvus import DataType, MilvusClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from milvus_server import MilvusServer

from embed_index.pipeline.milvus.indexes import VectorIndex, search_params
from embed_index.schemas.indexes import IndexType
from embed_index.schemas.records import Vectors

HITS = 10
NUM_QUERIES = 500
BATCH = 2_000
INNER = 48


def make_vectors(count: int, *, dimension: int) -> tuple[Vectors, Vectors]:
    """Return unit vectors and queries near to some of them."""
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((200, INNER))
    inner = centres[rng.integers(0, len(centres), count)] + 0.7 * rng.standard_normal(
        (count, INNER)
    )
    spread = rng.standard_normal((INNER, dimension)) / np.sqrt(INNER)
    vectors = inner @ spread + 0.05 * rng.standard_normal((count, dimension))
    queries = vectors[rng.choice(count, NUM_QUERIES, replace=False)]
    queries = queries + 0.3 * rng.standard_normal(queries.shape)
    return unit(vectors), unit(queries)


def unit(vectors: Vectors) -> Vectors:
    """Return the vectors at length 1."""
    scaled: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def nearest(vectors: Vectors, queries: Vectors) -> list[set[int]]:
    """Return the places of the nearest vectors of each query."""
    scores = queries @ vectors.T
    best = np.argpartition(-scores, HITS, axis=1)[:, :HITS]
    return [set(map(int, row)) for row in best]


def fill(client: MilvusClient, vectors: Vectors) -> None:
    """Write the vectors to a collection without an index."""
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
    client.create_collection("recall", schema=schema)
    for start in range(0, len(vectors), BATCH):
        rows = enumerate(vectors[start : start + BATCH], start=start)
        client.insert("recall", [{"id": place, "embedding": vector} for place, vector in rows])
    client.flush("recall")


def measure(
    client: MilvusClient, index: VectorIndex, *, queries: Vectors, exact: Sequence[set[int]]
) -> str:
    """Return the line of an index."""
    began = time.monotonic()
    wanted = client.prepare_index_params()
    wanted.add_index(
        "embedding",
        index_type=index.milvus_type(embedded=False),
        index_name="embedding",
        metric_type="COSINE",
        params=index.build_params,
    )
    client.create_index("recall", wanted, timeout=600)
    client.load_collection("recall", timeout=600)
    built = time.monotonic() - began
    made = client.describe_index("recall", "embedding")
    params = search_params(made["index_type"], made, limit=HITS)
    found, seconds = [], []
    for query in queries:
        began = time.monotonic()
        (hits,) = client.search(
            "recall",
            [query],
            anns_field="embedding",
            limit=HITS,
            search_params={"metric_type": "COSINE", "params": params},
        )
        seconds.append(time.monotonic() - began)
        found.append({hit["id"] for hit in hits})
    client.release_collection("recall")
    client.drop_index("recall", "embedding")
    recall = sum(len(a & b) for a, b in zip(found, exact, strict=True)) / (HITS * len(exact))
    searched = ", ".join(f"{name} {value}" for name, value in params.items()) or "-"
    median = 1000 * float(np.median(seconds))
    return f"| `{index.type}` | {searched} | {recall:.4f} | {median:.1f} ms | {built:.0f} s |"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="+", choices=get_args(IndexType))
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=256)
    options = parser.parse_args()
    vectors, queries = make_vectors(options.vectors, dimension=options.dimension)
    exact = nearest(vectors, queries)
    print(
        "| index | searched with | recall@10 | p50 | made in |\n|---|---|---|---|---|", flush=True
    )
    with tempfile.TemporaryDirectory() as folder, MilvusServer(Path(folder)) as server:
        client = MilvusClient(server.uri)
        fill(client, vectors)
        for kind in options.types:
            line = measure(client, VectorIndex(type=kind), queries=queries, exact=exact)
            print(line, flush=True)
        client.close()


if __name__ == "__main__":
    main()
