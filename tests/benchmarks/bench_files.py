"""The same documents in many small files and in one: both nights.

    python tests/benchmarks/bench_files.py [--files 5000] [--model MODEL] [--milvus]

Two documents a file, of some 300 words. Vectors come from a server that answers at once, 32
dimensions wide, and go to Milvus Lite, or to a real server with `--milvus`. Prints the CPU seconds
of the run's own process, and those of reading the files alone, twice as a run opens them: once for
their columns, once for their rows.
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
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "benchmarks")]

from bench_memory import make_words  # noqa: E402
from milvus_server import MilvusServer  # noqa: E402

ROWS_PER_FILE = 2
WORDS_PER_TEXT = 300


def write_corpora(folder: Path, *, num_files: int) -> None:
    rng = random.Random(1)
    words = make_words(rng, 5000)
    parts = [
        pa.table(
            {
                "id": [f"document-{number}-{row}" for row in range(ROWS_PER_FILE)],
                "text": [" ".join(rng.choices(words, k=WORDS_PER_TEXT)) for _ in range(2)],
                "topic": [f"topic {number % 100}"] * ROWS_PER_FILE,
            }
        )
        for number in range(num_files)
    ]
    for name in ("many", "one"):
        (folder / name).mkdir()
    for number, part in enumerate(parts):
        pq.write_table(part, folder / "many" / f"{number:06}.parquet")
    pq.write_table(pa.concat_tables(parts), folder / "one" / "all.parquet")


def read_alone(folder: Path) -> float:
    began = time.process_time()
    files = sorted(folder.glob("*.parquet"))
    for file in files:
        with pq.ParquetFile(file) as parquet:
            _ = parquet.metadata.num_rows, parquet.schema_arrow
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for _ in parquet.iter_batches(2048, columns=["id", "text"], use_threads=False):
                pass
    return time.process_time() - began


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--model", default=str(ROOT / ".cache" / "sample-model"))
    parser.add_argument("--milvus", action="store_true")
    options = parser.parse_args()
    key = secrets.token_urlsafe(24)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = [
            sys.executable,
            str(Path(__file__).with_name("instant_server.py")),
            str(port),
            key,
        ]
        embedder = subprocess.Popen(server, stdout=subprocess.PIPE)
        stack.callback(embedder.kill)
        write_corpora(folder, num_files=options.files)
        uri = str(folder / "store.db")
        if options.milvus:
            uri = stack.enter_context(MilvusServer(folder / "milvus")).uri
        environment = os.environ | {
            "EMBEDDING_API_BASE": f"http://127.0.0.1:{port}",
            "EMBEDDING_API_KEY": key,
            "MILVUS_URI": uri,
        }
        for name in ("one", "many"):
            command = [
                sys.executable, "-m", "embed_index.jobs.main", "run", "--quiet",
                "--input", str(folder / name), "--collection", name, "--model", options.model,
                "--state-dir", str(folder / "state"), "--dimension", "32",
            ]  # fmt: skip
            alone = min(read_alone(folder / name) for _ in range(3))
            first, *later = (cpu_seconds(command, environment) for _ in range(4))
            print(
                f"{name:5} reading alone {alone:5.2f} s, first night {first:6.2f} s,"
                f" second {min(later):5.2f} s of CPU",
                flush=True,
            )


if __name__ == "__main__":
    main()
