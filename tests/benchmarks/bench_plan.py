"""What a plan of a large corpus takes, beside reading and hashing the same Parquet alone.

    python tests/benchmarks/bench_plan.py [--documents 1000000] [--model MODEL] [--sample 0.01]

Documents of 1 KB, all different, are made on the fly. Then each in a process of its own: reading
and hashing them with pyarrow, `embed-index plan` over all of them, and `plan` with a sample. Prints
wall time, processor time and peak memory of each. Take a MODEL that `qwen_tokenizer.py` wrote.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "benchmarks")]

from bench_unchanged import TEXT_BYTES, read_and_hash, text_of  # noqa: E402

ROWS_PER_FILE = 100_000
NUM_WORDS = 5_000


def write_corpus(folder: Path, *, num_documents: int) -> None:
    """Write documents that begin with their number; what follows comes again in the next file."""
    from bench_memory import make_words

    folder.mkdir(parents=True)
    rng = random.Random(1)
    words = make_words(rng, NUM_WORDS)
    sentences = [" ".join(rng.choices(words, k=12)) for _ in range(20_000)]
    count = min(ROWS_PER_FILE, num_documents)
    tails = pa.array([text_of(number, sentences)[: TEXT_BYTES - 9] for number in range(count)])
    for start in range(0, num_documents, ROWS_PER_FILE):
        numbers = range(start, min(start + ROWS_PER_FILE, num_documents))
        heads = pa.array([f"{number:08}" for number in numbers])
        texts = pc.binary_join_element_wise(heads, tails[: len(heads)], " ")
        ids = pa.array([f"document-{number}" for number in numbers])
        pq.write_table(
            pa.table({"id": ids, "text": texts}),
            folder / f"part-{start:09}.parquet",
            compression="zstd",
            row_group_size=20_000,
        )


def measured(name: str, command: list[str]) -> str:
    """Run a command, print what it took, return its standard output."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        sys.exit(f"{name} failed with exit code {process.returncode}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = int(output.rpartition("peak ")[2]) if "peak " in output else 0
    print(
        f"{name:<24} wall {time.perf_counter() - began:7.1f} s, processor {cpu:7.1f} s, peak"
        f" {peak / 1e6:,.0f} MB",
        flush=True,
    )
    return output


def inside(what: str, arguments: list[str]) -> None:
    """Do one thing in this process, and print its peak memory last."""
    from bench_memory import peak_bytes

    if what == "read":
        read_and_hash(Path(arguments[0]), ())
    else:
        from embed_index.jobs.main import cli

        cli(["plan", *arguments], standalone_mode=False)
    print(f"peak {peak_bytes(os.getpid())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--model", default=str(ROOT / ".cache" / "sample-model"))
    parser.add_argument("--sample", default="0.01")
    parser.add_argument("--folder", type=Path, help="For the corpus; one that is kept.")
    parser.add_argument("--only", choices=("read", "plan", "sample"))
    parser.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        inside(options.inside[0], options.inside[1:])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        corpus = folder / "corpus"
        if not corpus.exists():
            write_corpus(corpus, num_documents=options.documents)
        job = ["--input", str(corpus), "--model", options.model, "--format", "json"]
        job += ["--state-dir", str(folder / "state")]
        me = [sys.executable, __file__, "--inside"]
        steps = {
            "read": ("read and hash", [*me, "read", str(corpus)]),
            "plan": ("plan", [*me, "plan", *job]),
            "sample": (f"plan --sample {options.sample}",
                       [*me, "plan", *job, "--sample", options.sample]),
        }  # fmt: skip
        for step, (title, command) in steps.items():
            if options.only in (None, step):
                output = measured(title, command)
                if step != "read":
                    tell(json.loads(output.rpartition("peak ")[0]))


def tell(plan: dict[str, dict[str, float]]) -> None:
    tokens, found = plan["tokens"], plan["documents"]
    print(
        f"    {found['num_new']:,} new documents, {plan['chunks']['value']:,.0f} chunks,"
        f" {tokens['value']:,.0f} tokens ± {tokens['error'] / max(tokens['value'], 1):.3%}"
    )


if __name__ == "__main__":
    main()
