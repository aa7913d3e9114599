"""What a managed server serves on the GPUs that a process sees. No I/O."""

from collections.abc import Sequence

from embed_index.pipeline.model.files import ModelFiles
from embed_index.pipeline.server.gpus import Gpu
from embed_index.pipeline.server.launch import ServerProfile
from embed_index.pipeline.server.precision import Precision

SLOWEST_ON_GPU = 1_000.0
"""Tokens a second, below which a server is taken to hang: a fortieth of what an H200 does with the
4B model at 32,768 tokens; GPUs differ."""


def profile_for(
    model: ModelFiles,
    *,
    precision: Precision,
    gpus: Sequence[Gpu],
    max_tokens: int,
    gpu: int | None = None,
    flags: tuple[str, ...] = (),
) -> ServerProfile:
    """Return a server's profile; SGLang by itself takes the first GPU.

    Args:
        model: The checkpoint.
        precision: What the server computes in.
        gpus: Those that are visible; empty for the CPU.
        max_tokens: Longest input.
        gpu: The server's own, by its place among them; None leaves it to SGLang.
        flags: SGLang's, appended last.
    """
    return ServerProfile(
        model=model.location,
        device="cuda" if gpus else "cpu",
        max_tokens=max_tokens,
        dtype=precision.dtype,
        quantization=precision.quantization,
        revision=model.hub_revision,
        compute_capability=gpus[gpu or 0].compute_capability if gpus else None,
        extra_flags=flags,
    )
