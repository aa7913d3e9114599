"""How long chunks take on a GPU: curves fitted to what was measured, and scaled beyond.

A chunk of L tokens takes c + a L + b L^2 seconds: what every input costs, the model's matrix
products, and attention. Batches are packed of chunks of mixed length, and attention looks at each
by itself, so the times of chunks add up. The three numbers are fitted to rates that whole runs
reached, from the first request to the last commit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, TypeAlias

import numpy as np

from embed_index.pipeline.model.shape import ModelShape
from embed_index.pipeline.planning.devices import KINDS, GpuKind
from embed_index.pipeline.planning.workload import Workload

Basis: TypeAlias = Literal["measured", "estimated", "own runs"]
"""Measured on such a GPU with a model of this shape; scaled from that; nothing but past runs."""

QWEN3: Mapping[str, ModelShape] = {
    "0.6B": ModelShape(
        hidden_size=1024,
        intermediate_size=3072,
        num_layers=28,
        num_heads=16,
        num_kv_heads=8,
        head_dim=128,
    ),
    "4B": ModelShape(
        hidden_size=2560,
        intermediate_size=9728,
        num_layers=36,
        num_heads=32,
        num_kv_heads=8,
        head_dim=128,
    ),
    "8B": ModelShape(
        hidden_size=4096,
        intermediate_size=12_288,
        num_layers=36,
        num_heads=32,
        num_kv_heads=8,
        head_dim=128,
    ),
}

_LENGTHS = (128, 512, 2_048, 8_192, 32_768)
_RATES: Mapping[tuple[str, str, str], tuple[float, ...]] = {
    ("H200", "0.6B", "bfloat16"): (292_743, 454_297, 409_500, 281_818, 127_946),
    ("H200", "0.6B", "fp8"): (294_723, 548_457, 484_739, 319_280, 134_546),
    ("H200", "4B", "bfloat16"): (76_130, 77_764, 72_462, 60_316, 36_185),
    ("H200", "4B", "fp8"): (109_922, 111_538, 101_638, 77_436, 42_375),
    ("H200", "8B", "bfloat16"): (42_185, 42_964, 41_653, 37_746, 26_857),
    ("H200", "8B", "fp8"): (62_861, 64_841, 62_151, 53_833, 33_932),
    ("H100", "0.6B", "bfloat16"): (0, 413_465, 393_689, 277_287, 129_312),
    ("H100", "4B", "bfloat16"): (0, 75_599, 72_707, 60_775, 36_723),
    ("H100", "8B", "bfloat16"): (0, 42_112, 41_861, 37_628, 26_974),
}
"""Tokens per second of whole runs on one GPU, by length; 0 where it was not measured. These are the
tables of docs/measured.md."""
_BOUND_BY_HOST = {("0.6B", 128)}
"""There the GPU waited for the processes that feed it."""

HOST_SECONDS_PER_CHUNK = 410e-6
HOST_SECONDS_PER_TOKEN = 1.8e-6
"""What one host process needs to cut, send, receive and write, whatever the GPU: the first where
chunks are short, as measured with 0.6B at 128 tokens on several hosts; the second of one core."""

_REFERENCE = "H200"
_WITH_CURVES = ("bfloat16", "fp8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """How long chunks take on one GPU, or another unit of work where nothing is known."""

    per_token: float
    per_square: float
    per_chunk: float
    basis: Basis
    how: str
    """For people: where it comes from."""

    def seconds(self, work: Workload, *, count: int = 1) -> float:
        """Return how long so many GPUs take, or the one process that feeds them."""
        return max(self.gpu_seconds(work) / count, self.host_seconds(work))

    def gpu_seconds(self, work: Workload) -> float:
        """Return how long one GPU computes."""
        return (
            self.per_chunk * work.num_chunks
            + self.per_token * work.num_tokens
            + self.per_square * work.sum_of_squares
        )

    def host_seconds(self, work: Workload) -> float:
        """Return how long the host needs to feed it; 0 where only past runs tell anything."""
        if self.basis == "own runs":
            return 0.0
        return max(
            HOST_SECONDS_PER_CHUNK * work.num_chunks, HOST_SECONDS_PER_TOKEN * work.num_tokens
        )

    def scaled(self, factor: float, *, how: str) -> "Curve":
        """Return the curve of something that takes so many times as long, as an estimate."""
        return replace(
            self,
            per_token=self.per_token * factor,
            per_square=self.per_square * factor,
            per_chunk=self.per_chunk * factor,
            basis="estimated",
            how=how,
        )


def curve_of(kind: GpuKind | None, *, shape: ModelShape | None, precision: str) -> Curve | None:
    """Return how fast a model is on one GPU.

    Args:
        kind: The GPU; None for a CPU or a GPU that is not in the table.
        shape: Of the model; None where its configuration does not say.
        precision: Such as `bfloat16` or `fp8`.

    Returns:
        A curve of plain operations, which only past runs turn into seconds, where nothing was
        measured that could be scaled; None where there is not even a shape.
    """
    if shape is None:
        return None
    if kind is None or precision not in _WITH_CURVES:
        return _operations(shape)
    size = next((name for name, known in QWEN3.items() if known == shape), None)
    if size is not None and (kind.name, size, precision) in _RATES:
        return _fitted(kind.name, size, precision)
    reference = _on_reference(shape, size, precision)
    if kind.name == _REFERENCE:
        return reference
    peak = KINDS[_REFERENCE].tflops
    how = f"{reference.how}; by peak, {_REFERENCE} x {peak:g}/{kind.tflops:g}"
    return reference.scaled(peak / kind.tflops, how=how)


def _on_reference(shape: ModelShape, size: str | None, precision: str) -> Curve:
    if size is not None:
        return _fitted(_REFERENCE, size, precision)
    known = [(QWEN3[name], _fitted(_REFERENCE, name, precision)) for name in QWEN3]
    weights = np.log([known_shape.layer_weights for known_shape, _ in known])
    place = np.log(shape.layer_weights)
    # Larger products use more of the peak; beyond the sizes measured it is taken to stay.
    flops = np.interp(place, weights, [s.token_flops / c.per_token for s, c in known])
    attention = np.interp(place, weights, [s.attention_flops / c.per_square for s, c in known])
    per_chunk = np.interp(place, weights, [c.per_chunk for _, c in known])
    return Curve(
        per_token=float(shape.token_flops / flops),
        per_square=float(shape.attention_flops / attention),
        per_chunk=float(per_chunk),
        basis="estimated",
        how=f"by operations, from the sizes measured on {_REFERENCE}",
    )


@cache
def _fitted(gpu: str, size: str, precision: str) -> Curve:
    points = [
        (length, length / rate)
        for length, rate in zip(_LENGTHS, _RATES[gpu, size, precision], strict=True)
        if rate and (size, length) not in _BOUND_BY_HOST
    ]
    lengths, seconds = np.array(points, dtype=np.float64).T
    # Relative errors count alike at all lengths.
    terms = np.stack([np.ones_like(lengths), lengths, lengths**2], axis=1) / seconds[:, None]
    per_chunk, per_token, per_square = np.linalg.lstsq(terms, np.ones_like(lengths))[0].tolist()
    return Curve(
        per_token=per_token,
        per_square=per_square,
        per_chunk=per_chunk,
        basis="measured",
        how=f"measured on {gpu}, {size} in {precision}",
    )


def _operations(shape: ModelShape) -> Curve:
    """Return seconds of a device that makes 10^12 operations in one; its own runs correct it."""
    return Curve(
        per_token=shape.token_flops / 1e12,
        per_square=shape.attention_flops / 1e12,
        per_chunk=0.0,
        basis="own runs",
        how="nothing was measured on it",
    )
