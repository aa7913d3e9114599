"""Which SGLang flags are fastest for embedding, by model and chunk length.

    python tests/benchmarks/bench_flags.py --model 4b [--only ours "16k a pass"]
    python tests/benchmarks/bench_flags.py --model tiny --device cpu --lengths 512 --seconds 2

Every candidate is a server of its own that gets the same inputs, all distinct, over HTTP. Prints
tokens/s by length, and the seconds from launch to readiness. `ours` is what a run starts.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence

from bench_gpu import LENGTHS, Cell, make_cells, measure_ceiling
from bench_setting import Bench, Stopwatch, add_options

from embed_index.schemas.errors import ServerError

CANDIDATES: Mapping[str, tuple[str, ...]] = {
    "ours": (),
    "16k a pass": ("--max-prefill-tokens", "16385"),
    "64k a pass": ("--max-prefill-tokens", "65537"),
    "no overlap": ("--disable-overlap-schedule",),
    "8k chunks": ("--chunked-prefill-size", "8192"),
    "flashinfer": ("--attention-backend", "flashinfer"),
    "triton": ("--attention-backend", "triton"),
    "with cache": ("--attention-backend", "fa3"),
    "fp8 cache": ("--attention-backend", "fa3", "--kv-cache-dtype", "fp8_e4m3"),
}
"""Appended to our own flags, so that they win; naming a backend also brings the KV cache back."""


async def measure(
    bench: Bench, cells: Sequence[Cell], *, flags: tuple[str, ...], in_flight: int
) -> list[float]:
    """Return the seconds to readiness, then tokens/s for each cell."""
    watch = Stopwatch()
    async with bench.new_server(*flags) as server:
        await server.wait_ready()
        figures = [watch.lap("ready")]
        for cell in cells:
            stretch = await asyncio.to_thread(
                measure_ceiling, server, cell.inputs, in_flight=in_flight, num_senders=1
            )
            watch.lap(f"{cell.length}: {stretch.rate:,.0f} tokens/s")
            figures.append(stretch.rate)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare SGLang's flags for embedding.")
    add_options(parser)
    parser.add_argument("--lengths", type=int, nargs="+", choices=LENGTHS, default=LENGTHS)
    parser.add_argument("--seconds", type=float, default=5.0, help="Aimed at for each cell.")
    parser.add_argument("--in-flight", type=int, default=24)
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    options = parser.parse_args()
    bench = Bench.from_options(options)
    bench.make_model()
    cells = list(make_cells(bench, lengths=options.lengths, seconds=options.seconds))
    rows: list[str] = []
    for name in options.only:
        try:
            ready, *rates = asyncio.run(
                measure(bench, cells, flags=CANDIDATES[name], in_flight=options.in_flight)
            )
        except ServerError as error:
            print(f"{name}: {error.message}", file=sys.stderr, flush=True)
            rows.append(f"{name:>12}  does not start")
            continue
        rows.append(f"{name:>12} {ready:>8.0f}" + "".join(f"{rate:>10,.0f}" for rate in rates))
        print(rows[-1], flush=True)
    lengths = "".join(f"{cell.length:>10,}" for cell in cells)
    print(f"\n{bench.size} on {bench.device}: tokens/s\n{'flags':>12} {'ready s':>8}{lengths}")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
