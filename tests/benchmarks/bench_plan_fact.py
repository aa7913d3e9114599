"""A plan beside the run that follows it: how far time and tokens are off, at first and later.

    python tests/benchmarks/bench_plan_fact.py --model 4b
    python tests/benchmarks/bench_plan_fact.py --model tiny --device cpu --corpora 512 --seconds 8

For each corpus (chunks of 512 tokens, of 32,768, and a mixture of documents from 32 tokens to five
chunks) and for each of `--runs`: new texts are written, `embed-index plan` is asked, then
`embed-index run` does it, with a server of its own and into Milvus Lite. What a run took is what it
left in its history. Prints both, and the run's own expectation, which is the plan's.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench_setting import Bench, Stopwatch, add_options
from exact_texts import ExactTexts

from embed_index.pipeline.model.files import find_model
from embed_index.pipeline.planning.curve import curve_of
from embed_index.pipeline.planning.devices import KINDS
from embed_index.pipeline.planning.workload import Workload

CORPORA = ("512", "32768", "mixed")
CPU_TOKENS_PER_SECOND = 15_000
MIXED_MAX_TOKENS = 8_192
_ROWS_PER_GROUP = 512
_LIMITS = {1: 0.15, 2: 0.07}
"""How far the first and the second plan may be off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One plan and its run."""

    corpus: str
    number: int
    planned: dict[str, Any]
    """Of this host, from the plan's JSON."""
    planned_tokens: float
    fact: dict[str, Any]
    """What the run left in its history."""


def max_tokens(corpus: str) -> int:
    return MIXED_MAX_TOKENS if corpus == "mixed" else int(corpus)


def document_lengths(corpus: str, *, num_tokens: float, seed: int) -> list[int]:
    """Return how many tokens each document has, so many in all."""
    longest = max_tokens(corpus)
    if corpus != "mixed":
        return [longest] * max(4, round(num_tokens / longest))
    drawn = np.random.default_rng(seed).uniform(np.log(32), np.log(5 * longest), 1_000_000)
    lengths = np.exp(drawn).astype(int)
    count = max(4, int(np.searchsorted(np.cumsum(lengths), num_tokens)))
    return [int(length) for length in lengths[:count]]


def write_corpus(bench: Bench, path: Path, *, corpus: str, num_tokens: float, seed: int) -> None:
    texts = ExactTexts(bench.tokenizer(), seed=seed)
    lengths = document_lengths(corpus, num_tokens=num_tokens, seed=seed)
    schema = pa.schema({"id": pa.string(), "text": pa.string()})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, len(lengths), _ROWS_PER_GROUP):
            group = lengths[start : start + _ROWS_PER_GROUP]
            ids = [f"{seed}-{start + place}" for place in range(len(group))]
            rows = {"id": ids, "text": [texts.draw(length) for length in group]}
            writer.write_table(pa.table(rows, schema=schema))


def tokens_for(bench: Bench, corpus: str, *, seconds: float) -> float:
    """Return about how many tokens an H200 embeds in so many seconds."""
    shape = find_model(str(bench.model_folder)).shape
    if bench.device == "cpu" or shape is None:
        return CPU_TOKENS_PER_SECOND * seconds
    precision = "fp8" if bench.dtype == "fp8" else "bfloat16"
    curve = curve_of(KINDS["H200"], shape=shape, precision=precision)
    assert curve is not None
    work = Workload.of_lengths(
        np.minimum(document_lengths(corpus, num_tokens=1e7, seed=1), max_tokens(corpus))
    )
    return work.num_tokens / curve.seconds(work) * seconds


def call(*arguments: str) -> str:
    command = [sys.executable, "-m", "embed_index.jobs.main", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"embed-index {arguments[0]} ended with {done.returncode}")
    return done.stdout


def measure(bench: Bench, corpus: str, *, number: int, seconds: float) -> Measured:
    """Write new texts, plan, run, and read what the history has."""
    place = bench.folder / "plan-fact" / f"{bench.size}-{bench.dtype}-{corpus}-{os.getpid()}"
    place.mkdir(parents=True, exist_ok=True)
    num_tokens = tokens_for(bench, corpus, seconds=seconds)
    write_corpus(bench, place / "a.parquet", corpus=corpus, num_tokens=num_tokens, seed=number)
    where = ["--milvus-uri", str(place / "milvus.db"), "--state-dir", str(place / "state")]
    job = ["--input", str(place / "a.parquet"), "--collection", "plan_fact", *where]
    job += ["--model", str(bench.model_folder), "--dtype", bench.dtype]
    job += ["--max-tokens", str(max_tokens(corpus)), "--dimension", "256"]
    job += [part for flag in bench.server_args for part in ("--server-extra-args", flag)]
    plan = json.loads(call("plan", *job, "--format", "json"))
    call("run", *job, "--log-format", "json", "--quiet")
    (run,) = json.loads(call("history", "plan_fact", "--limit", "1", "--json", *where))
    return Measured(
        corpus=corpus,
        number=number,
        planned=next(time for time in plan["times"] if time["is_here"]),
        planned_tokens=plan["tokens"]["value"],
        fact=run["prediction"],
    )


def off(planned: float | None, fact: float) -> str:
    return "-" if planned is None else f"{planned / fact - 1:+.1%}"


def print_table(bench: Bench, rows: Sequence[Measured]) -> None:
    print(
        f"\n{bench.size} in {bench.dtype} on {bench.device}: planned / took, in seconds\n"
        f"{'corpus':>7} {'run':>3} {'basis':>9} {'tokens':>12} {'off':>6} {'start':>13}"
        f" {'embedding':>15} {'off':>7} {'total':>15} {'off':>7}"
    )
    for row in rows:
        fact, planned = row.fact, row.planned
        parts = {
            "start": planned["start_seconds"],
            "embedding": planned["embedding_seconds"] and planned["embedding_seconds"]["value"],
            "total": planned["total_seconds"] and planned["total_seconds"]["value"],
        }
        pairs = {
            name: f"{'-' if value is None else f'{value:.1f}'} / {fact[f'{name}_seconds']:.1f}"
            for name, value in parts.items()
        }
        print(
            f"{row.corpus:>7} {row.number:>3} {planned['basis']:>9} {fact['num_tokens']:>12,}"
            f" {off(row.planned_tokens, fact['num_tokens']):>6} {pairs['start']:>13}"
            f" {pairs['embedding']:>15} {off(parts['embedding'], fact['embedding_seconds']):>7}"
            f" {pairs['total']:>15} {off(parts['total'], fact['total_seconds']):>7}"
        )
    print(f"allowed: {_LIMITS[1]:.0%} at the first run, {_LIMITS[2]:.0%} at the second")


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare plans with the runs that follow them.")
    add_options(parser)
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=CORPORA)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=40.0, help="Of embedding, aimed at.")
    parser.add_argument("--keep", action="store_true", help="Corpora, databases and ledgers.")
    options = parser.parse_args()
    bench = Bench.from_options(options)
    watch = Stopwatch()
    bench.make_model()
    watch.lap("model made")
    rows = []
    for corpus in options.corpora:
        for number in range(1, options.runs + 1):
            rows.append(measure(bench, corpus, number=number, seconds=options.seconds))
            watch.lap(f"{corpus}, run {number}")
    print_table(bench, rows)
    if not options.keep:
        shutil.rmtree(bench.folder / "plan-fact", ignore_errors=True)


if __name__ == "__main__":
    main()
