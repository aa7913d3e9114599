"""A corpus in an object store beside the same files on the disk, through faults and without.

    python tests/benchmarks/bench_object_store.py [--megabytes 2000] [--faults 20] [--model MODEL]

The store is moto's server, behind a proxy that stalls, resets and answers 503, so many times each,
spread over the reads. Everything is read, and by `where` one document of fifty is indexed: each
has 1 MB, is cut into chunks of 32,768 tokens, gets vectors from a server that answers at once, and
goes to Milvus Lite. Prints how fast rows are read from each place, how the runs end, in how many
rows the two collections differ, and where key and secret were found.
"""

import argparse
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "benchmarks")]

from bench_memory import make_text, make_words  # noqa: E402
from leak_hunt import hunt  # noqa: E402
from object_store import (  # noqa: E402
    KEY_ID,
    SECRET,
    Asked,
    Fault,
    FaultyProxy,
    faulty_proxy,
    running_store,
)

from embed_index.pipeline.corpus.parquet import ParquetSource  # noqa: E402
from embed_index.pipeline.milvus.store import open_store  # noqa: E402
from embed_index.pipeline.storage.store import Storage  # noqa: E402
from embed_index.pipeline.storage.systems import S3Access  # noqa: E402

MB = 1_000_000
BUCKET, FOLDER = "corpora", "corpus"
MB_PER_FILE, ROWS_PER_GROUP = 50, 50
"""A row is about 1 MB."""
MB_READ_ALONE = 200
KINDS: tuple[Fault, ...] = ("stall", "reset", "503")


def write_corpus(folder: Path, *, num_megabytes: int) -> None:
    rng = random.Random(1)
    words = make_words(rng, 5000)
    text = make_text(rng, words, 20 * MB)
    folder.mkdir()
    for first in range(0, num_megabytes, MB_PER_FILE):
        numbers = range(first, min(first + MB_PER_FILE, num_megabytes))
        starts = [rng.randrange(len(text) - MB) for _ in numbers]
        columns = {
            "id": [f"document-{number}" for number in numbers],
            "wanted": [number % ROWS_PER_GROUP == 0 for number in numbers],
            "text": [f"{n} {text[at : at + MB]}" for n, at in zip(numbers, starts, strict=True)],
        }
        pq.write_table(
            pa.table(columns),
            folder / f"{first // MB_READ_ALONE:04}-{first:06}.parquet",
            row_group_size=ROWS_PER_GROUP,
            compression="none",
            use_dictionary=False,
        )


def spread(num_each: int, *, num_reads: int) -> Callable[[Asked], Fault | None]:
    """Name faults for reads that are apart from one another."""
    rng = random.Random(2)
    kinds = [kind for kind in KINDS for _ in range(num_each)]
    rng.shuffle(kinds)
    num_seen, every = 0, max(1, num_reads // (len(kinds) + 1))

    def choose(asked: Asked) -> Fault | None:
        nonlocal num_seen
        num_seen += asked.is_read
        due = asked.is_read and num_seen % every == 0
        return kinds.pop() if due and kinds else None

    return choose


def read_all(place: str, storage: Storage | None) -> float:
    """Read some files of a corpus whole; return the seconds."""
    began = time.perf_counter()
    source = ParquetSource([place], id_column="id", text_columns=["text"], storage=storage)
    num_rows = sum(len(rows) for rows in source.read())
    assert num_rows == source.num_rows
    return time.perf_counter() - began


def rows_of(uri: str, collection: str) -> set[object]:
    with open_store(uri, connect_seconds=60.0) as store:
        return set(store.reader.iter_keys(f"{collection}_v1"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--faults", type=int, default=20, help="Of each kind.")
    parser.add_argument("--model", default=str(ROOT / ".cache" / "sample-model"))
    options = parser.parse_args()
    size = options.megabytes
    key = secrets.token_urlsafe(24)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        serving = [
            sys.executable,
            str(Path(__file__).with_name("instant_server.py")),
            *(str(port), key),
        ]
        embedder = subprocess.Popen(serving, stdout=subprocess.PIPE)
        stack.callback(embedder.kill)
        write_corpus(folder / FOLDER, num_megabytes=size)
        store = stack.enter_context(running_store())
        store.make_bucket(BUCKET)
        store.put_tree(BUCKET, folder / FOLDER, under=FOLDER)
        planted = {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        address = f"s3://{BUCKET}/{FOLDER}"

        def run(name: str, place: str, *more: str) -> float:
            began = time.perf_counter()
            command = [
                *(sys.executable, "-m", "embed_index.jobs.main", "run", "--log-format", "json"),
                *("--input", place, "--collection", name, "--model", options.model),
                *("--state-dir", str(folder / name), "--milvus-uri", str(folder / f"{name}.db")),
                *("--dimension", "32", "--max-tokens", "32768", "--where", "wanted == True", *more),
            ]
            environment = os.environ | {
                "EMBEDDING_API_BASE": f"http://127.0.0.1:{port}",
                "EMBEDDING_API_KEY": key,
            }
            with (folder / f"{name}.log").open("wb") as log:
                done = subprocess.run(
                    command, env=environment | planted, stdout=log, stderr=log, check=False
                )
            seconds = time.perf_counter() - began
            print(
                f"run from {name:6} {seconds:6.1f} s, {size / seconds:5.1f} MB/s,"
                f" exit code {done.returncode}",
                flush=True,
            )
            return seconds

        def read(name: str, place: str, proxy: FaultyProxy | None = None) -> None:
            os.environ.update(planted)
            storage = Storage(S3Access(endpoint=proxy.url)) if proxy else None
            seconds = read_all(f"{place}/0000*.parquet", storage)
            for variable in planted:
                del os.environ[variable]
            rate = min(size, MB_READ_ALONE) / seconds
            print(f"read from {name:6} {seconds:6.1f} s, {rate:5.1f} MB/s", flush=True)

        read("disk", str(folder / FOLDER))
        with faulty_proxy(store) as proxy:
            read("store", address, proxy)
            num_reads = sum(asked.is_read for asked in proxy.asked)
            print(f"requests  {len(proxy.asked):,}, of which reads {num_reads:,}", flush=True)
        num_reads *= max(1, size // MB_READ_ALONE)
        run("disk", str(folder / FOLDER))
        with faulty_proxy(store, spread(options.faults, num_reads=num_reads)) as proxy:
            run("store", address, "--source-endpoint", proxy.url)
            print(f"faults    {dict(proxy.done)}", flush=True)
        disk = rows_of(str(folder / "disk.db"), "disk")
        stored = rows_of(str(folder / "store.db"), "store")
        print(f"rows      {len(disk):,}, different in {len(disk ^ stored):,}", flush=True)
        for secret in (KEY_ID, SECRET):
            num_places, hits = hunt(secret, folders=[folder])
            print(f"leaks     {len(hits)} in {num_places:,} places {hits or ''}", flush=True)


if __name__ == "__main__":
    main()
