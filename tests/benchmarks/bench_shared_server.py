"""How long a search's questions take at a server that a run uses, and what they cost the run.

    python tests/benchmarks/bench_shared_server.py [--rows 3000] [--pause 0.5]

A real SGLang server with the sample model, by `embed-index serve`; on a CPU without a GPU. Three
runs against it, each into a collection of its own: one alone, one beside which vectors of a short
text are asked for, one after the other with a pause, and one where these ask to be taken in turn,
as SGLang does by itself. Throughput is that of the runs' histories.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from serve_process import ServeProcess

MODEL = Path(__file__).parents[2] / ".cache" / "sample-model"
KEY = "ei-benchmark-of-a-shared-server"
WORDS = ("pump", "filter", "valve", "printer", "paper", "cover", "signal", "motor", "reset")
WORDS_PER_TEXT = 400


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3000, help="Documents of each run.")
    parser.add_argument("--pause", type=float, default=0.5, help="Seconds between questions.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder / "corpus.parquet", options.rows)
        key = folder / "key"
        key.write_text(KEY)
        key.chmod(0o600)
        with ServeProcess(folder, "--key-file", str(key), model=MODEL) as server:
            server.wait_ready()
            url = server.record.url
            for which, more in (("alone", None), ("preceding", {}), ("in_turn", {"priority": 0})):
                run = run_of(folder, which, url=url)
                seconds = questions(url, more, while_runs=run, pause=options.pause)
                print(f"{which}: the run {tokens_per_second(folder, which):,.0f} tokens/s")
                if seconds:
                    p50, p99 = np.percentile(seconds, [50, 99])
                    print(f"  {len(seconds)} questions: p50 {p50:.2f} s, p99 {p99:.2f} s")
            server.end()


def write_corpus(path: Path, num_rows: int) -> None:
    """Write texts that differ from each other."""
    drawn = np.random.default_rng(7).integers(0, len(WORDS), (num_rows, WORDS_PER_TEXT))
    texts = [f"{n} " + " ".join(WORDS[word] for word in row) for n, row in enumerate(drawn)]
    pq.write_table(pa.table({"id": [*range(num_rows)], "text": texts}), path)


def run_of(folder: Path, which: str, *, url: str) -> "subprocess.Popen[bytes]":
    """Begin a run, and return it once it embeds."""
    command = [sys.executable, "-m", "embed_index.jobs.main", "run", "--collection", which,
               "--input", str(folder / "corpus.parquet"), "--model", str(MODEL), "--quiet",
               "--milvus-uri", str(folder / which / "milvus.db"), "--server-url", url,
               "--state-dir", str(folder / which)]  # fmt: skip
    (folder / which).mkdir()
    environ = os.environ | {"EMBEDDING_API_KEY": KEY}
    return subprocess.Popen(command, cwd=folder, env=environ, stdin=subprocess.DEVNULL)


def questions(
    url: str,
    more: dict[str, int] | None,
    *,
    while_runs: "subprocess.Popen[bytes]",
    pause: float,
) -> list[float]:
    """Ask for vectors of a short text until the run ends; return how long each answer took."""
    taken: list[float] = []
    if more is None:
        while_runs.wait()
        return taken
    with httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=600) as client:
        while while_runs.poll() is None:
            began = time.monotonic()
            body = {"input": [[5 + len(taken) % 50] * 12], "model": "m", **more}
            client.post(f"{url}/v1/embeddings", json=body).raise_for_status()
            taken.append(time.monotonic() - began)
            time.sleep(pause)
    return taken


def tokens_per_second(folder: Path, which: str) -> float:
    """Return what a run embedded in each second, its start included."""
    command = [sys.executable, "-m", "embed_index.jobs.main", "history", which, "--json",
               "--milvus-uri", str(folder / which / "milvus.db"),
               "--state-dir", str(folder / which)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True)
    (run,) = json.loads(done.stdout)
    return float(run["tokens_per_second"])


if __name__ == "__main__":
    main()
