"""The GPU benchmark: what the server can do alone, and what `embed-index run` makes of it.

    python tests/benchmarks/bench_gpu.py --model 4b
    python tests/benchmarks/bench_gpu.py --model tiny --device cpu --lengths 512 --seconds 3

For each length: the ceiling (token ids over HTTP to a managed server, all inputs distinct, sent by
one process or by several), the whole job from Parquet to Milvus Lite or to a Milvus server on the
same inputs and the same server, and Transformers on as many of them as fit its time. One document
is one chunk of exactly that length. Rates are taken from the first request sent to the last answer
(ceiling) or to the last commit (job). While the server runs, its key is looked for in every process
and every file it wrote; its vectors are compared with float32 Transformers.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import numpy as np
from bench_setting import Bench, Stopwatch, add_options
from bench_timing import FirstRequest, LastCommit, Stretch
from check_gpu_vectors import embed_on, mixed_inputs, reference
from check_gpu_vectors import report as report_vectors
from exact_texts import ExactTexts
from gpu_sampling import GpuSampler
from leak_hunt import hunt

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))
from milvus_server import MilvusServer

from embed_index.jobs.runs import indexing_pass
from embed_index.jobs.runs.index import run_index_job
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.wire import encode_request
from embed_index.pipeline.server.process import ManagedServer
from embed_index.schemas.records import TokenIds
from embed_index.schemas.settings import JobSettings

PEAK_FLOPS = 989e12
"""Dense bf16 of one H200."""
LENGTHS = (128, 512, 2_048, 8_192, 32_768)
REQUEST_TOKENS = 16_384
_MIN_TEXTS = 24
EXPECTED = {  # tokens/s on one H200, to size the inputs
    "0.6b": {128: 290e3, 512: 450e3, 2_048: 410e3, 8_192: 295e3, 32_768: 131e3},
    "4b": {128: 70e3, 512: 76e3, 2_048: 71e3, 8_192: 65e3, 32_768: 38e3},
    "8b": {128: 38e3, 512: 40e3, 2_048: 38e3, 8_192: 35e3, 32_768: 25e3},
    "tiny": {128: 20e3, 512: 20e3, 2_048: 15e3, 8_192: 10e3, 32_768: 5e3},
}


@dataclass(slots=True, kw_only=True)
class Cell:
    """One length of one model."""

    length: int
    corpus: Path
    inputs: list[TokenIds]
    ceiling: float = 0.0
    ceiling_idle: float | None = None
    run: float = 0.0
    run_idle: float | None = None
    run_wall_seconds: float = 0.0
    transformers: float = 0.0


def make_cells(bench: Bench, *, lengths: Sequence[int], seconds: float) -> Iterator[Cell]:
    texts = ExactTexts(bench.tokenizer(), seed=1)
    for length in lengths:
        num_texts = max(_MIN_TEXTS, int(EXPECTED[bench.size][length] * seconds / length))
        corpus = bench.folder / f"corpus-{length}.parquet"
        inputs = texts.write(corpus, num_tokens=length, num_texts=num_texts)
        yield Cell(length=length, corpus=corpus, inputs=inputs)


def measure_ceiling(
    server: ManagedServer, inputs: Sequence[TokenIds], *, in_flight: int, num_senders: int
) -> Stretch:
    """Send requests that are prepared beforehand, so many at a time, from so many processes."""
    length = inputs[0].size
    per_request = max(1, REQUEST_TOKENS // length)
    groups = [inputs[i : i + per_request] for i in range(0, len(inputs), per_request)]
    bodies = [encode_request(group, model="", dimension=None) for group in groups]
    warm_up = encode_request(
        [np.random.default_rng(9).permutation(inputs[0])], model="", dimension=None
    )
    if num_senders == 1:
        times = [send_all(server.endpoint, bodies, warm_up, in_flight)]
    else:
        with ProcessPoolExecutor(num_senders, mp_context=get_context("spawn")) as senders:
            # The first calls import what the second ones need.
            list(senders.map(send_all, *_calls(server, [[]] * num_senders, warm_up, 1)))
            shares = [bodies[sender::num_senders] for sender in range(num_senders)]
            calls = _calls(server, shares, warm_up, max(1, in_flight // num_senders))
            times = list(senders.map(send_all, *calls))
    return Stretch(
        begin=min(begin for begin, _ in times),
        end=max(end for _, end in times),
        num_tokens=length * len(inputs),
    )


def _calls(
    server: ManagedServer, shares: Sequence[Sequence[bytes]], warm_up: bytes, in_flight: int
) -> tuple[list[EmbeddingEndpoint], Sequence[Sequence[bytes]], list[bytes], list[int]]:
    count = len(shares)
    return [server.endpoint] * count, shares, [warm_up] * count, [in_flight] * count


def send_all(
    endpoint: EmbeddingEndpoint, bodies: Sequence[bytes], warm_up: bytes, in_flight: int
) -> tuple[float, float]:
    """Send a warm-up, then all of the others; return when these began and ended."""
    return asyncio.run(_send_all(endpoint, bodies, warm_up, in_flight))


async def _send_all(
    endpoint: EmbeddingEndpoint, bodies: Sequence[bytes], warm_up: bytes, in_flight: int
) -> tuple[float, float]:
    headers = {**endpoint.bearer(), "Content-Type": "application/json"}
    waiting = iter(bodies)

    async def send() -> None:
        for body in waiting:
            answer = await http.post("/v1/embeddings", content=body, headers=headers, timeout=600)
            answer.raise_for_status()

    async with endpoint.http_client() as http:
        await http.post("/v1/embeddings", content=warm_up, headers=headers, timeout=600)
        begin = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(in_flight):
                tasks.create_task(send())
        end = time.monotonic()
    return begin, end


def measure_run(cell: Cell, settings: JobSettings) -> None:
    """Run the job in this process, and take its rate, wall time and the GPU's idle share."""
    reporter, first = LastCommit(), FirstRequest()
    with (
        GpuSampler() as sampler,
        patch.object(indexing_pass, "choose_service", first.choose_service),
    ):
        began = time.monotonic()
        summary = run_index_job(settings, reporter=reporter)
        cell.run_wall_seconds = time.monotonic() - began
    if summary.num_chunks_embedded != len(cell.inputs):
        sys.exit(f"{summary.num_chunks_embedded} chunks instead of {len(cell.inputs)}")
    stretch = Stretch(begin=first.at, end=reporter.at, num_tokens=summary.num_tokens)
    cell.run = stretch.rate
    cell.run_idle = sampler.idle_share(begin=stretch.begin, end=stretch.end)


def job_settings(
    bench: Bench, cell: Cell, server: ManagedServer | None, *, in_flight: int, milvus: str
) -> JobSettings:
    stamp = f"{bench.size.replace('.', '_')}_{cell.length}_{os.getpid()}"
    given: dict[str, object] = {
        "input": (str(cell.corpus),),
        "collection": f"bench_{stamp}",
        "milvus_uri": milvus or str(bench.state_folder / f"{stamp}.db"),
        "max_tokens": cell.length,
        "max_in_flight": in_flight,
        "quiet": True,
    }
    if server is not None:
        given |= {"server_url": (server.url,), "server_key": server.key}
    return bench.settings(**given)


def measure_transformers(bench: Bench, cells: Sequence[Cell], *, seconds: float) -> None:
    ids = bench.folder / "peer.npz"
    needed = {
        cell.length: max(2, int(EXPECTED[bench.size][cell.length] * seconds / cell.length))
        for cell in cells
    }
    arrays = {f"{c.length:06}": np.stack(c.inputs[: needed[c.length]]) for c in cells}
    np.savez(str(ids), **arrays)  # type: ignore[arg-type]
    script = str(Path(__file__).with_name("transformers_peer.py"))
    command = [sys.executable, script, "speed", str(bench.model_folder), str(ids)]
    command += ["--device", bench.device, "--seconds", str(seconds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            measured = json.loads(line)
            for cell in cells:
                if cell.length == measured["length"]:
                    cell.transformers = measured["tokens_per_second"]


def hunt_for_key(server: ManagedServer, bench: Bench) -> None:
    num_read, hits = hunt(server.key.get_secret_value(), folders=[bench.state_folder])
    print(f"leak hunt: {num_read} places read, {len(hits)} hold the key {hits or ''}", flush=True)


def print_table(bench: Bench, cells: Sequence[Cell]) -> None:
    print(
        f"\n{bench.size} in {bench.dtype} on {bench.device}: tokens/s\n"
        f"{'length':>8} {'ceiling':>9} {'run':>9} {'run/ceil.':>9} {'wall s':>7} {'transf.':>9} "
        f"{'run/trf.':>8} {'peak: ceil.':>11} {'peak: run':>9} {'idle: ceil.':>11} {'idle: run':>9}"
    )
    for cell in cells:
        flops = bench.shape.flops_per_token(cell.length) / PEAK_FLOPS
        columns = (
            f"{cell.length:>8,} {cell.ceiling:>9,.0f} {cell.run:>9,.0f} "
            f"{_ratio(cell.run, cell.ceiling):>9} {cell.run_wall_seconds:>7.1f} "
            f"{cell.transformers:>9,.0f} {_ratio(cell.run, cell.transformers):>8} "
            f"{cell.ceiling * flops:>11.1%} {cell.run * flops:>9.1%} "
            f"{_percent(cell.ceiling_idle):>11} {_percent(cell.run_idle):>9}"
        )
        print(columns)


def _ratio(part: float, whole: float) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure server and job on a GPU host.")
    add_options(parser)
    parser.add_argument("--lengths", type=int, nargs="+", choices=LENGTHS, default=LENGTHS)
    parser.add_argument("--seconds", type=float, default=12.0, help="Aimed at for each cell.")
    parser.add_argument("--peer-seconds", type=float, default=5.0)
    parser.add_argument("--in-flight", type=int, default=24)
    parser.add_argument("--senders", type=int, default=1, help="Processes behind the ceiling.")
    parser.add_argument("--milvus", action="store_true", help="Start a Milvus server; write there.")
    parser.add_argument("--own-server", action="store_true", help="Each run starts its own.")
    parser.add_argument("--skip-run", action="store_true")
    parser.add_argument("--skip-transformers", action="store_true")
    parser.add_argument("--skip-vectors", action="store_true")
    return parser.parse_args()


def main() -> None:
    with ExitStack() as stack:
        measure(read_options(), stack)


def measure(options: argparse.Namespace, stack: ExitStack) -> None:
    """Measure all cells, and print the table."""
    bench = Bench.from_options(options)
    watch = Stopwatch()
    bench.make_model()
    watch.lap("model made")
    # A run reports four times a second; rates over some ten seconds want it finer.
    indexing_pass._PROGRESS_SECONDS = 0.02
    milvus = (
        stack.enter_context(MilvusServer(bench.folder / "milvus")).uri if options.milvus else ""
    )
    job_options = {"in_flight": options.in_flight, "milvus": milvus}
    inputs = mixed_inputs(longest=max(options.lengths), vocabulary=bench.vocabulary)
    server = bench.new_server()
    server.start()
    try:
        cells = list(make_cells(bench, lengths=options.lengths, seconds=options.seconds))
        watch.lap("inputs made while the server starts")
        asyncio.run(server.wait_ready())
        watch.lap("server ready")
        hunt_for_key(server, bench)
        for cell in cells:
            with GpuSampler() as sampler:
                stretch = measure_ceiling(
                    server,
                    cell.inputs,
                    in_flight=options.in_flight,
                    num_senders=options.senders,
                )
            cell.ceiling = stretch.rate
            cell.ceiling_idle = sampler.idle_share(begin=stretch.begin, end=stretch.end)
            watch.lap(f"ceiling at {cell.length}: {cell.ceiling:,.0f} tokens/s")
        if not (options.own_server or options.skip_run):
            for cell in cells:
                measure_run(cell, job_settings(bench, cell, server, **job_options))
                watch.lap(f"run at {cell.length}: {cell.run:,.0f} tokens/s")
        if not options.skip_vectors:
            width = bench.shape.hidden_size
            full, narrow = asyncio.run(
                embed_on(server, inputs, vocabulary=bench.vocabulary, width=width)
            )
            watch.lap("vectors embedded")
        hunt_for_key(server, bench)
    finally:
        asyncio.run(server.stop())
    if options.own_server and not options.skip_run:
        for cell in cells:
            measure_run(cell, job_settings(bench, cell, None, **job_options))
            watch.lap(f"run with its own server at {cell.length}: {cell.run:,.0f} tokens/s")
    if not options.skip_vectors:
        report_vectors(full, narrow, reference(bench, inputs))
        watch.lap("vectors compared")
    if not options.skip_transformers:
        measure_transformers(bench, cells, seconds=options.peer_seconds)
        watch.lap("transformers measured")
    print_table(bench, cells)


if __name__ == "__main__":
    main()
