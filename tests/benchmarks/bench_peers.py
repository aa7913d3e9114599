"""The same job done by us, by LlamaIndex and by LangChain: processor time, memory, second night.

    python tests/benchmarks/bench_peers.py MODEL [--documents 600] [--environments .cache/peers]

MODEL is a folder that `qwen_tokenizer.py` wrote. The same corpus goes to the same Milvus server in
chunks of at most 512 tokens, its vectors of 1,024 dimensions from the same server that answers at
once. Peers are the programs in `peers/`, each in an environment made of the lock of its name, with
the tokenizer that their users take and with ours. Printed are a run over a corpus, the same again
unchanged, and what a larger one costs beyond it; the faster a contender, the larger, since a second
of processor time says little beside the seconds that starting takes. What the embedding server was
asked for is counted there; tokens are those of the texts, for all. Processor time is that of the
client's process alone; documents/s are of the wall clock, to which servers and all else add.
"""

import argparse
import ast
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "benchmarks")]

from bench_start import instant_server  # noqa: E402
from milvus_server import MilvusServer  # noqa: E402
from mixed_corpus import write_mixed  # noqa: E402

PEERS = Path(__file__).with_name("peers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to do the job."""

    name: str
    peer: str = ""
    """Its program and its lock in `peers/`; empty for us."""
    engine: str = ""
    growth: int
    """How many times as large the larger corpus is."""

    def command(
        self, corpus: Path, collection: str, state: Path, options: argparse.Namespace
    ) -> list[str]:
        if self.peer:
            python = options.environments / self.peer / "bin" / "python"
            program = PEERS / f"with_{self.peer}.py"
            return [str(python), str(program), str(corpus), collection, str(state)]
        flags = ["--dimension", "1024", "--max-tokens", "512", "--state-dir", str(state)]
        run = [sys.executable, "-m", "embed_index.jobs.main", "run", "--quiet", *flags]
        return [*run, "--input", str(corpus), "--collection", collection, "--model", options.model]

    def num_lines(self) -> int:
        """Count the lines that a user writes, without what is in no line of code."""
        if not self.peer:
            return 0
        text = (PEERS / f"with_{self.peer}.py").read_text("utf-8")
        docstring = ast.parse(text).body[0]
        lines = text.splitlines()[docstring.end_lineno or 0 :]
        return sum(bool(line.strip()) for line in lines)


CONTENDERS = (
    Contender(name="embed-index", growth=24),
    Contender(name="LlamaIndex", peer="llamaindex", engine="tokenizers", growth=3),
    Contender(name="LlamaIndex, our tokenizer", peer="llamaindex", engine="fastokens", growth=4),
    Contender(name="LangChain", peer="langchain", engine="tokenizers", growth=3),
    Contender(name="LangChain, our tokenizer", peer="langchain", engine="fastokens", growth=8),
)

GROWTHS = [contender.growth for contender in CONTENDERS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one run took."""

    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    num_embedded: int


def write_and_count(file: Path, *, model: str, num_documents: int) -> int:
    """Write a corpus; return how many tokens its texts have."""
    from embed_index.pipeline.model.files import find_model
    from embed_index.pipeline.model.tokenizer import ModelTokenizer

    write_mixed(file, num_documents=num_documents)
    tokenizer = ModelTokenizer.load(find_model(model))
    return int(tokenizer.count(pq.read_table(file)["text"].to_pylist()).sum())


class Bench:
    """Runs contenders, each run into a collection of its own."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder = folder
        self._options = options
        self._num_collections = 0
        sizes = sorted({1, *GROWTHS})
        # In another process: one that is started counts its starter's memory as its own.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
            writing = [
                other.submit(
                    write_and_count,
                    self._corpus(times),
                    model=options.model,
                    num_documents=times * options.documents,
                )
                for times in sizes
            ]
            counts = [count.result() for count in writing]
        self._num_tokens = dict(zip(sizes, counts, strict=True))

    def _corpus(self, times: int) -> Path:
        return self._folder / f"times-{times}.parquet"

    def compare(self, contender: Contender, environment: dict[str, str]) -> "Comparison":
        """Run a contender over the smaller corpus, over the same again, and over the larger."""
        first, again = (self._run(contender, environment, times=1, new=x) for x in (True, False))
        larger = self._run(contender, environment, times=contender.growth, new=True)
        return Comparison(
            first=first,
            again=again,
            larger=larger,
            documents=(contender.growth - 1) * self._options.documents,
            tokens=self._num_tokens[contender.growth] - self._num_tokens[1],
        )

    def _run(
        self, contender: Contender, environment: dict[str, str], *, times: int, new: bool
    ) -> Cost:
        self._num_collections += new
        state = self._folder / (contender.peer or "ours")
        state.mkdir(mode=0o700, exist_ok=True)
        collection = f"peer_{self._num_collections}"
        command = contender.command(self._corpus(times), collection, state, self._options)
        before, began = num_embedded(environment), time.perf_counter()
        process = subprocess.Popen(
            command,
            env=environment | {"TOKENIZER_ENGINE": contender.engine},
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{contender.name} failed with exit code {process.returncode}")
        return Cost(
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            wall_seconds=time.perf_counter() - began,
            peak_bytes=usage.ru_maxrss * 1024,
            num_embedded=num_embedded(environment) - before,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a contender's runs took."""

    first: Cost
    again: Cost
    larger: Cost
    documents: int
    """In the larger corpus beyond the smaller."""
    tokens: int

    @property
    def cpu_seconds_a_million(self) -> float:
        """For tokens beyond those of the smaller corpus."""
        return (self.larger.cpu_seconds - self.first.cpu_seconds) / self.tokens * 1e6

    def __str__(self) -> str:
        first, again, larger = self.first, self.again, self.larger
        wall = larger.wall_seconds - first.wall_seconds
        return (
            f"first {first.cpu_seconds:.1f} CPU s, {first.num_embedded:,} embedded; again"
            f" {again.cpu_seconds:.1f} CPU s, {again.num_embedded:,} embedded; {self.tokens:,}"
            f" tokens more: {self.cpu_seconds_a_million:.2f} CPU s a million,"
            f" {self.tokens / wall:,.0f} tokens/s, {self.documents / wall:,.0f} documents/s;"
            f" peak {first.peak_bytes / 1e6:,.0f} and {larger.peak_bytes / 1e6:,.0f} MB"
        )


def num_embedded(environment: dict[str, str]) -> int:
    """Ask the embedding server how many inputs it embedded so far."""
    request = urllib.request.Request(
        environment["EMBEDDING_API_BASE"] + "/num_inputs",
        headers={"Authorization": f"Bearer {environment['EMBEDDING_API_KEY']}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.read())


def make_environment(folder: Path, peer: str) -> None:
    """Make the environment of a peer of its lock, unless it is there."""
    if (folder / peer / "complete").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder / peer], check=True)
    pip = [str(folder / peer / "bin" / "pip"), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--requirement", str(PEERS / f"{peer}.lock")], check=True)
    (folder / peer / "complete").touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--environments", type=Path, default=ROOT / ".cache" / "peers")
    options = parser.parse_args()
    for peer in sorted({x.peer for x in CONTENDERS if x.peer}):
        make_environment(options.environments, peer)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = os.environ | stack.enter_context(instant_server())
        environment |= {"TOKENIZER": f"{options.model}/tokenizer.json"}
        environment |= {"MILVUS_URI": stack.enter_context(MilvusServer(folder / "milvus")).uri}
        bench = Bench(folder, options)
        # What is known of a vocabulary is derived once a state folder.
        bench.compare(CONTENDERS[0], environment)
        ours = 0.0
        for contender in CONTENDERS:
            compared = bench.compare(contender, environment)
            ours = ours or compared.cpu_seconds_a_million
            times = compared.cpu_seconds_a_million / ours
            lines = contender.num_lines()
            print(
                f"{contender.name}: {compared}; {times:.1f} times ours; {lines} lines", flush=True
            )


if __name__ == "__main__":
    main()
