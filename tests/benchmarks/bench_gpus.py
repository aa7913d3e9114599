"""What several GPUs make of a run: `embed-index run` on one server, and on one server a GPU.

    python tests/benchmarks/bench_gpus.py --model 4b --lengths 2048 8192

The servers are started once; the same corpus goes through one of them, then through all. Rates
are taken from the first request sent to the last commit.
"""

import argparse
import asyncio
import os
from contextlib import ExitStack

from bench_gpu import LENGTHS, Cell, make_cells, measure_run
from bench_setting import Bench, Stopwatch, add_options
from pydantic import SecretStr

from embed_index.jobs.runs import indexing_pass
from embed_index.pipeline.server.gpus import visible_gpus
from embed_index.pipeline.server.process import ManagedServer

KEY = SecretStr(os.urandom(24).hex())


def start_all(bench: Bench, stack: ExitStack) -> list[ManagedServer]:
    """Start a server on each GPU, and wait for all."""
    servers = [bench.new_server(gpu=gpu.index, key=KEY) for gpu in visible_gpus()]
    for server in servers:
        stack.callback(server.kill)
        server.start()
    for server in servers:
        asyncio.run(server.wait_ready())
    return servers


def measure(bench: Bench, cell: Cell, servers: list[ManagedServer], *, in_flight: int) -> float:
    """Return tokens/s from first request to last commit."""
    stamp = f"gpus_{cell.length}_{len(servers)}_{os.getpid()}"
    settings = bench.settings(
        input=(str(cell.corpus),),
        collection=stamp,
        milvus_uri=str(bench.state_folder / f"{stamp}.db"),
        max_tokens=cell.length,
        max_in_flight=in_flight,
        server_url=tuple(server.url for server in servers),
        server_key=KEY,
        quiet=True,
    )
    measure_run(cell, settings)
    return cell.run


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare one GPU with all of them.")
    add_options(parser)
    parser.add_argument("--lengths", type=int, nargs="+", choices=LENGTHS, default=(2_048, 8_192))
    parser.add_argument("--seconds", type=float, default=20.0, help="Aimed at on one GPU.")
    parser.add_argument("--in-flight", type=int, default=0, help="For each server; 0 chooses.")
    options = parser.parse_args()
    bench = Bench.from_options(options)
    bench.make_model()
    indexing_pass._PROGRESS_SECONDS = 0.02
    watch = Stopwatch()
    cells = list(make_cells(bench, lengths=options.lengths, seconds=options.seconds))
    watch.lap("inputs made")
    rows = []
    with ExitStack() as stack:
        servers = start_all(bench, stack)
        watch.lap(f"{len(servers)} servers ready")
        for cell in cells:
            one, every = (
                measure(bench, cell, used, in_flight=options.in_flight)
                for used in (servers[:1], servers)
            )
            watch.lap(f"{cell.length}: {one:,.0f} and {every:,.0f} tokens/s")
            rows.append(f"{cell.length:>8,} {one:>10,.0f} {every:>10,.0f} {every / one:>7.3f}")
    print(f"\n{bench.size}, {len(servers)} GPUs: tokens/s of a run")
    print(f"{'length':>8} {'one GPU':>10} {'all GPUs':>10} {'ratio':>7}")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
