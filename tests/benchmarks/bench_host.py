"""What the host costs beside the GPU: tokens for each second of processor time of a run's process.

    python tests/benchmarks/bench_host.py MODEL [lite] [server] [instant] [--documents 2000]

MODEL is a folder that `qwen_tokenizer.py` wrote. The corpus is English, Chinese and code in chunks
of 512 tokens; vectors of 1,024 dimensions come from a server that answers at once, and go to Milvus
Lite, to a real Milvus server, and to a store that acknowledges rows at once. Each is run on one
core and on two, over a small corpus and one of four times its size; what is printed is the
difference, so that starting costs nothing. Wall times are also those of the servers, and of
whatever else the machine does.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "benchmarks")]

from bench_start import instant_server  # noqa: E402
from milvus_server import MilvusServer  # noqa: E402
from mixed_corpus import write_mixed  # noqa: E402

STORES = ("lite", "server", "instant")
GROWTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one run did and took."""

    tokens: int
    chunks: int
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.tokens:,} tokens in {self.chunks:,} chunks: {self.cpu_seconds:.2f} CPU s,"
            f" {self.tokens / self.cpu_seconds:,.0f} tokens per CPU s,"
            f" {self.tokens / self.wall_seconds:,.0f} per second, peak"
            f" {self.peak_bytes / 1e6:,.0f} MB"
        )


class Bench:
    """Runs over two corpora, each run into a collection of its own."""

    def __init__(self, folder: Path, *, model: str, num_documents: int) -> None:
        self._folder = folder
        self._model = model
        self._num_runs = 0
        for name, times in (("small", 1), ("large", GROWTH)):
            write_mixed(folder / f"{name}.parquet", num_documents=times * num_documents)

    def slope(self, environment: dict[str, str], *, store: str, cores: int) -> Cost:
        """Return what the larger corpus costs beyond the smaller."""
        small = self._run("small", environment, store=store, cores=cores)
        large = self._run("large", environment, store=store, cores=cores)
        return Cost(
            tokens=large.tokens - small.tokens,
            chunks=large.chunks - small.chunks,
            cpu_seconds=large.cpu_seconds - small.cpu_seconds,
            wall_seconds=large.wall_seconds - small.wall_seconds,
            peak_bytes=large.peak_bytes,
        )

    def _run(self, corpus: str, environment: dict[str, str], *, store: str, cores: int) -> Cost:
        self._num_runs += 1
        name = f"host_{self._num_runs}"
        place = ["--collection", name, "--state-dir", str(self._folder / "state")]
        command = ["taskset", "--cpu-list", ",".join(map(str, range(cores))), sys.executable]
        command += [__file__, "--inside", store, "run", "--quiet", *place]
        command += ["--input", str(self._folder / f"{corpus}.parquet"), "--model", self._model]
        command += ["--dimension", "1024", "--max-tokens", "512"]
        began = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"a run failed with exit code {process.returncode}")
        wall = time.perf_counter() - began
        history = [sys.executable, "-m", "embed_index.jobs.main", "history", name, "--json"]
        history += ["--state-dir", str(self._folder / "state")]
        done = json.loads(subprocess.check_output(history, env=environment))[0]
        return Cost(
            tokens=done["num_tokens"],
            chunks=done["num_chunks_embedded"],
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            wall_seconds=wall,
            peak_bytes=usage.ru_maxrss * 1024,
        )


def inside(store: str, arguments: list[str]) -> None:
    """Run the command in this process, as it is or into a store that acknowledges at once."""
    from embed_index.jobs.main import cli
    from embed_index.pipeline.milvus.store import MilvusStore
    from embed_index.schemas.records import EmbeddedBatch

    def acknowledge(self: MilvusStore, version: str, batch: EmbeddedBatch) -> int:
        return len(batch.chunks)

    if store == "instant":
        MilvusStore.upsert = acknowledge  # type: ignore[method-assign]
    cli(arguments, standalone_mode=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("stores", nargs="*", default=STORES)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--cores", type=int, nargs="*", default=(1, 2))
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = os.environ | stack.enter_context(instant_server())
        bench = Bench(folder, model=options.model, num_documents=options.documents)
        uris = dict.fromkeys(("lite", "instant"), str(folder / "milvus-lite.db"))
        if "server" in options.stores:
            uris["server"] = stack.enter_context(MilvusServer(folder / "milvus")).uri
        # What is known of a vocabulary is derived once a state folder.
        bench.slope(environment | {"MILVUS_URI": uris["instant"]}, store="instant", cores=2)
        for store in options.stores:
            for cores in options.cores:
                into = environment | {"MILVUS_URI": uris[store]}
                cost = bench.slope(into, store=store, cores=cores)
                print(f"{store:8} {cores} cores: {cost}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2], sys.argv[3:])
    else:
        main()
