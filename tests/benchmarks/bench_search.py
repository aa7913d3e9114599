"""How long a search by vector takes through the library, beside pymilvus alone.

    python tests/benchmarks/bench_search.py server
    python tests/benchmarks/bench_search.py lite --searches 100

Both search the same alias for the same vectors with the same fields, in turn, so that what else the
machine does meets both.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pymilvus import MilvusClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from milvus_fixtures import make_batch, make_contract, unit_vectors
from milvus_server import MilvusServer

from embed_index.pipeline.library.collection import Collection
from embed_index.pipeline.library.queries import QueryEmbedder
from embed_index.pipeline.milvus.indexes import search_params
from embed_index.pipeline.milvus.rows import KEY_FIELDS, POSITION_FIELDS
from embed_index.pipeline.milvus.store import MilvusStore, open_store
from embed_index.schemas.records import Vectors

BATCH = 500
LIMIT = 10
ALIAS = "bench"
FIELDS = [*KEY_FIELDS, *POSITION_FIELDS, "text"]


@contextmanager
def milvus(target: str, folder: Path) -> Iterator[tuple[MilvusStore, str]]:
    """Yield a store of the target, and where another client reaches the same rows."""
    if target == "server":
        with MilvusServer(folder) as server, open_store(server.uri, connect_seconds=60) as store:
            yield store, server.uri
    else:
        with open_store(str(folder / "bench.db")) as store:
            lite = store._connection._lite
            assert lite is not None
            yield store, lite.uri


def fill(store: MilvusStore, *, num_rows: int, dimension: int) -> None:
    version = store.versions.create(ALIAS, contract=make_contract(dimension=dimension))
    began = time.monotonic()
    for number in range(num_rows // BATCH):
        texts = [f"chunk {row} of document {number}. " * 30 for row in range(BATCH)]
        batch = make_batch(texts, doc_id=f"d{number}", dimension=dimension, seed=number)
        store.upsert(version, batch)
    store.flush(version)
    store.versions.load(version)
    store.versions.set_live(ALIAS, version=version)
    print(f"{num_rows:,} rows of {dimension} in {time.monotonic() - began:.0f} s", flush=True)


def milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def wait_until_indexed(client: MilvusClient, search: Callable[[], object]) -> None:
    """Wait until a server's index is whole, and times have settled: it is built after the rows."""
    while client.describe_index(ALIAS, "embedding").get("pending_index_rows", 0):
        time.sleep(1)
    last = float("inf")
    for _ in range(30):
        now = float(np.median([milliseconds(search) for _ in range(20)]))
        if 0.9 * last < now:
            return
        last = now
        time.sleep(3)


def compare(collection: Collection, raw: MilvusClient, queries: Vectors) -> None:
    made = raw.describe_index(ALIAS, "embedding")
    # Otherwise fewer candidates would be looked at, and other hits found.
    params = search_params(made["index_type"], made, limit=LIMIT)

    def with_library(vector: Vectors) -> list[str | None]:
        (hits,) = collection.search_vectors(vector, limit=LIMIT)
        return [hit.chunk.text for hit in hits]

    def with_pymilvus(vector: Vectors) -> list[str | None]:
        (hits,) = raw.search(
            ALIAS,
            data=[vector],
            anns_field="embedding",
            limit=LIMIT,
            output_fields=FIELDS,
            search_params={"metric_type": "COSINE", "params": params},
            consistency_level="Bounded",
        )
        return [dict(hit["entity"])["text"] for hit in hits]

    wait_until_indexed(raw, lambda: with_pymilvus(queries[0]))
    times: dict[str, list[float]] = {"pymilvus": [], "library": []}
    for place, vector in enumerate(queries):
        calls = [("pymilvus", with_pymilvus), ("library", with_library)]
        for name, call in calls if place % 2 else calls[::-1]:
            times[name].append(milliseconds(lambda call=call, vector=vector: call(vector)))  # type: ignore[misc]
        if place % 50 == 0:
            # A server that puts segments together searches others from one call to the next.
            assert any(with_library(vector) == with_pymilvus(vector) for _ in range(5))
    alone = np.percentile(times["pymilvus"], [50, 99])
    ours = np.percentile(times["library"], [50, 99])
    for name, (half, slowest) in (("pymilvus", alone), ("library", ours), ("ratio", ours / alone)):
        print(f"{name:<9} p50 {half:8.2f}  p99 {slowest:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=["server", "lite"])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=1024)
    parser.add_argument("--searches", type=int, default=2000)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        milvus(arguments.target, Path(folder)) as (store, uri),
    ):
        fill(store, num_rows=arguments.rows, dimension=arguments.dimension)
        queries = unit_vectors(arguments.searches, dimension=arguments.dimension, seed=99_999)
        raw = MilvusClient(uri, dedicated=True)
        collection = Collection(ALIAS, store=store, embedder=QueryEmbedder(None))  # type: ignore[arg-type]
        compare(collection, raw, queries)
        raw.close()


if __name__ == "__main__":
    main()
