"""A night without changes: the second run of a large corpus against reading and hashing alone.

    python tests/benchmarks/bench_unchanged.py [--documents 1000000] [--shuffled] [--carrying]

Documents of 1 KB are embedded once by a server that answers at once, 32 dimensions wide, into a
real Milvus server. Then, in one process: reading and hashing the same Parquet with pyarrow, and
the second run, in turn; with all rows in another order before each, and with three carried columns,
where that is asked for. Prints the ratios of their wall times and of their process times, which say
more on a busy machine, and the process' peak memory.
"""

import argparse
import gc
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "benchmarks")]

from bench_memory import make_words, peak_bytes  # noqa: E402
from milvus_server import MilvusServer  # noqa: E402

from embed_index.schemas.ids import text_hash  # noqa: E402

ROWS_PER_FILE = 100_000
TEXT_BYTES = 1024
ROUNDS = 3
CARRIED = ("topic", "severity", "score")


def write_corpus(folder: Path, *, num_documents: int, order: int = 0) -> None:
    """Write the documents in an order of their own for each `order`."""
    folder.mkdir(exist_ok=True)
    rng = random.Random(1)
    words = make_words(rng, 5000)
    sentence = [" ".join(rng.choices(words, k=12)) for _ in range(20_000)]
    ordered = list(range(num_documents))
    if order:
        random.Random(order).shuffle(ordered)
    for start in range(0, num_documents, ROWS_PER_FILE):
        numbers = ordered[start : start + ROWS_PER_FILE]
        texts = [text_of(number, sentence) for number in numbers]
        columns = {
            "id": [f"document-{number}" for number in numbers],
            "text": texts,
            "topic": [f"topic {number % 100}" for number in numbers],
            "severity": [number % 7 for number in numbers],
            "score": [number / 8 for number in numbers],
        }
        table = pa.table(columns)
        file = folder / f"part-{start:09}.parquet"
        pq.write_table(table, file, compression="zstd", row_group_size=20_000)


def text_of(number: int, sentences: list[str]) -> str:
    drawn = random.Random(number).choices(sentences, k=12)
    return f"{number} {'. '.join(drawn)}"[:TEXT_BYTES]


def read_and_hash(folder: Path, carried: tuple[str, ...]) -> None:
    """Read the columns as the job does, and hash every text."""
    for file in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as parquet:
            columns = ["id", "text", *carried]
            for batch in parquet.iter_batches(2048, columns=columns, use_threads=False):
                for column in ("id", *carried):
                    batch.column(column).to_pylist()
                for text in batch.column("text").to_pylist():
                    text_hash(text)


def measured(step: Callable[[], None]) -> tuple[float, float]:
    """Return the step's wall time and process time."""
    gc.collect()
    began = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def command(folder: Path, model: str, carried: tuple[str, ...]) -> list[str]:
    carry = [part for column in carried for part in ("--carry", column)]
    return [
        "run", *carry, "--input", str(folder / "corpus"), "--collection", "unchanged",
        "--state-dir", str(folder / "state"), "--model", model, "--dimension", "32",
    ]  # fmt: skip


def second_run(folder: Path, model: str, *, carried: tuple[str, ...], num_shuffled: int) -> None:
    """Measure in this process, which has nothing else in it."""
    from click.testing import CliRunner

    from embed_index.jobs.main import cli

    # A first look at both, so that neither pays for cold files and imports.
    read_and_hash(folder / "corpus", carried)
    CliRunner().invoke(cli, [*command(folder, model, carried), "--show-config"])
    import embed_index.jobs.runs.index  # noqa: F401

    outputs = []

    def run() -> None:
        done = CliRunner().invoke(cli, command(folder, model, carried))
        if done.exit_code:
            sys.exit(done.output)
        outputs.append(done.output)

    pool = pa.default_memory_pool()
    alone, runs = [], []
    for order in range(1, ROUNDS + 1):
        if num_shuffled:
            write_corpus(folder / "corpus", num_documents=num_shuffled, order=order)
        # A run keeps its heap small and reads a little slower for it; reading alone need not.
        pa.set_memory_pool(pool)
        alone.append(measured(lambda: read_and_hash(folder / "corpus", carried)))
        runs.append(measured(run))
    print(outputs[-1])
    for name, kind in (("wall", 0), ("process", 1)):
        base, second = ([times[kind] for times in every] for every in (alone, runs))
        print(f"{name} time, reading and hashing:", *(f"{seconds:.2f}" for seconds in base), "s")
        print(f"{name} time, second run:         ", *(f"{seconds:.2f}" for seconds in second), "s")
        print(f"{name} time, ratio of medians: {median(second) / median(base):.2f}")
    print(f"peak memory: {peak_bytes(os.getpid()) / 1e6:,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--model", default=str(ROOT / ".cache" / "sample-model"))
    parser.add_argument("--second-run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--carrying", action="store_true")
    options = parser.parse_args()
    carried = CARRIED if options.carrying else ()
    if options.second_run:
        num_shuffled = options.documents if options.shuffled else 0
        second_run(options.second_run, options.model, carried=carried, num_shuffled=num_shuffled)
        return
    key = secrets.token_urlsafe(24)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("instant_server.py")), str(port), key],
        stdout=subprocess.PIPE,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder / "corpus", num_documents=options.documents)
        with MilvusServer(folder / "milvus") as milvus:
            environment = os.environ | {
                "EMBEDDING_API_BASE": f"http://127.0.0.1:{port}",
                "EMBEDDING_API_KEY": key,
                "MILVUS_URI": milvus.uri,
            }
            run = [
                sys.executable,
                "-m",
                "embed_index.jobs.main",
                *command(folder, options.model, carried),
            ]
            subprocess.run(run, env=environment, check=True)
            again = [sys.executable, __file__, *sys.argv[1:], "--second-run", str(folder)]
            subprocess.run(again, env=environment, check=True)
    server.kill()


if __name__ == "__main__":
    main()
