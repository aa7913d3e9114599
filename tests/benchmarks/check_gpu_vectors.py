"""Do the server's vectors agree with float32 Transformers on the same weights?

    python tests/benchmarks/check_gpu_vectors.py --model 0.6b [--device cpu]

Starts the managed server, embeds 40 inputs of 1 to 32,768 tokens at full width and at 256
dimensions, ends the server, and prints the smallest cosines.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from bench_setting import Bench, add_options

from embed_index.pipeline.embedding.client import ClientLimits, EmbeddingClient
from embed_index.pipeline.embedding.wire import normalise
from embed_index.pipeline.server.process import ManagedServer
from embed_index.schemas.records import TokenIds, Vectors

NUM_INPUTS = 40
NARROW = 256
_BATCH = 8


def mixed_inputs(*, longest: int, vocabulary: int) -> list[TokenIds]:
    """Inputs of lengths spread evenly on a logarithmic scale, ends included, in mixed order."""
    random = np.random.default_rng(40)
    lengths = np.unique(np.geomspace(1, longest, NUM_INPUTS).round().astype(int)).tolist()
    lengths += random.integers(1, 2_000, NUM_INPUTS - len(lengths)).tolist()
    random.shuffle(lengths)
    return [random.integers(3, vocabulary, n, dtype=np.int32) for n in lengths]


async def embed_on(
    server: ManagedServer, inputs: list[TokenIds], *, vocabulary: int, width: int
) -> tuple[Vectors, Vectors]:
    """Return the server's vectors at full width and at `NARROW`, several inputs a request."""
    limits = ClientLimits(vocab_size=vocabulary, max_tokens=32_768, answer_seconds=600)
    async with EmbeddingClient(server.endpoint, limits=limits) as client:
        full, narrow = [
            np.concatenate(
                [
                    await client.embed(inputs[start : start + _BATCH], dimension=dimension)
                    for start in range(0, len(inputs), _BATCH)
                ]
            )
            for dimension in (width, NARROW)
        ]
    return full, narrow


def reference(bench: Bench, inputs: list[TokenIds]) -> Vectors:
    """Return float32 vectors; the server must be gone, for the memory."""
    with tempfile.TemporaryDirectory() as folder:
        ids, out = Path(folder) / "ids.npz", Path(folder) / "out.npy"
        named = {f"{place:04}": values for place, values in enumerate(inputs)}
        np.savez(str(ids), **named)  # type: ignore[arg-type]
        script = str(Path(__file__).with_name("transformers_peer.py"))
        command = [sys.executable, script, "vectors", str(bench.model_folder), str(ids), str(out)]
        subprocess.run([*command, "--device", bench.device], check=True)
        vectors: Vectors = np.load(out)
        return vectors


def smallest_cosine(ours: Vectors, theirs: Vectors) -> float:
    cut = normalise(np.ascontiguousarray(theirs[:, : ours.shape[1]]))
    return float(np.einsum("ij,ij->i", ours, cut, dtype=np.float64).min())


async def served_vectors(bench: Bench, inputs: list[TokenIds]) -> tuple[Vectors, Vectors]:
    async with bench.new_server() as server:
        await server.wait_ready()
        return await embed_on(
            server, inputs, vocabulary=bench.vocabulary, width=bench.shape.hidden_size
        )


def report(full: Vectors, narrow: Vectors, theirs: Vectors) -> None:
    print(
        f"smallest cosine against float32 over {len(full)} inputs: "
        f"{smallest_cosine(full, theirs):.6f} at {full.shape[1]} dimensions, "
        f"{smallest_cosine(narrow, theirs):.6f} at {NARROW}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the server's vectors with float32.")
    add_options(parser)
    parser.add_argument("--longest", type=int, default=32_768)
    options = parser.parse_args()
    bench = Bench.from_options(options)
    bench.make_model()
    inputs = mixed_inputs(longest=options.longest, vocabulary=bench.vocabulary)
    full, narrow = asyncio.run(served_vectors(bench, inputs))
    report(full, narrow, reference(bench, inputs))


if __name__ == "__main__":
    main()
