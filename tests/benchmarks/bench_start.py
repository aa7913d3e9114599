"""What a night costs that changed nothing, or next to nothing: the start of `embed-index run`.

    python tests/benchmarks/bench_start.py MODEL [--documents 300] [--rounds 5] [--lite-only]

MODEL is a folder that `qwen_tokenizer.py` wrote: small vocabularies hide what a start costs. Prints
the processor seconds (user and system) and the peak memory of the whole process: the first run of
all, nights without changes, and nights with one changed document; with Milvus Lite, which runs in
the same process, and with a real Milvus server. Vectors come from a server that answers at once.
"""

import argparse
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "benchmarks")]

from bench_unchanged import text_of  # noqa: E402
from milvus_server import MilvusServer  # noqa: E402


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one process used."""

    cpu_seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        return f"{self.cpu_seconds:.2f} CPU s, {self.peak_bytes / 1e6:.0f} MB"


def cost_of(command: list[str], *, environment: dict[str, str]) -> Cost:
    """Run a command and return what it used, its own children included in neither figure."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return Cost(cpu_seconds=usage.ru_utime + usage.ru_stime, peak_bytes=usage.ru_maxrss * 1024)


def write_corpus(file: Path, *, num_documents: int, change: int = 0) -> None:
    """Write documents of 1 KB; each `change` gives the first one another text."""
    sentences = [f"Sentence {number} of the corpus has a few words" for number in range(1000)]
    texts = [text_of(number, sentences) for number in range(num_documents)]
    texts[0] += f" change {change}"
    table = pa.table({"id": [f"document-{n}" for n in range(num_documents)], "text": texts})
    pq.write_table(table, file)


@contextmanager
def instant_server() -> Iterator[dict[str, str]]:
    """Run the embedding server that answers at once; yield the settings that name it."""
    key = secrets.token_urlsafe(24)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    script = str(Path(__file__).with_name("instant_server.py"))
    command = [sys.executable, script, str(port), key]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield {"EMBEDDING_API_BASE": f"http://127.0.0.1:{port}", "EMBEDDING_API_KEY": key}
        finally:
            server.kill()


def measure(folder: Path, options: argparse.Namespace, *, environment: dict[str, str]) -> None:
    """Print the costs of the first run and of both kinds of night, medians of some."""
    folder.mkdir()
    corpus = folder / "corpus.parquet"
    environment = environment | {"XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "embed_index.jobs.main", "run", "--collection", "start"]
    command += ["--input", str(corpus), "--model", options.model, "--dimension", "1024"]
    command += ["--max-tokens", "512", "--state-dir", str(folder / "state")]

    def night(change: int) -> Cost:
        write_corpus(corpus, num_documents=options.documents, change=change)
        return cost_of(command, environment=environment)

    print("  first run:", night(0))
    rounds = range(options.rounds)
    for name, nights in (
        ("nothing changed", [night(0) for _ in rounds]),
        ("one document changed", [night(1 + place) for place in rounds]),
    ):
        cpu = median(cost.cpu_seconds for cost in nights)
        peak = max(cost.peak_bytes for cost in nights)
        print(f"  {name}, median of {len(nights)}: {Cost(cpu_seconds=cpu, peak_bytes=peak)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lite-only", action="store_true")
    options = parser.parse_args()
    nothing = cost_of([sys.executable, "-c", "pass"], environment=dict(os.environ))
    print(f"Python alone: {nothing}")
    with tempfile.TemporaryDirectory() as name, instant_server() as server:
        scratch = Path(name)
        environment = os.environ | server
        print("Milvus Lite")
        lite = {"MILVUS_URI": str(scratch / "milvus-lite.db")}
        measure(scratch / "lite", options, environment=environment | lite)
        milvus = nullcontext() if options.lite_only else MilvusServer(scratch / "milvus")
        with milvus as running:
            if running is not None:
                print("a Milvus server")
                real = {"MILVUS_URI": running.uri}
                measure(scratch / "server", options, environment=environment | real)


if __name__ == "__main__":
    main()
