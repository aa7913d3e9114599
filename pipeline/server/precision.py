"""What SGLang is told for a wanted precision, and which GPUs can compute in it. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from embed_index.pipeline.model.files import ModelFiles
from embed_index.pipeline.server.gpus import Gpu
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.precision import FP8, Dtype

_FIRST_WITH_FP8 = (8, 9)
"""Ada. Hopper is 9.0, Blackwell 10 and 12. SGLang takes older ones, too, and computes in 16 bits
there: the weights lose their digits, and nothing gets faster."""
_FP8_CARDS = "an NVIDIA GPU of the generations Ada, Hopper or Blackwell (L4, L40S, H100, B200 …)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What SGLang's flags say."""

    dtype: str
    """Of everything that is not quantised: activations between the matrix products, attention."""
    quantization: str | None = None
    """SGLang's name of the method; None leaves it to the checkpoint."""


def choose_precision(wanted: Dtype, *, model: ModelFiles, gpus: Sequence[Gpu]) -> Precision:
    """Return what to tell SGLang.

    Args:
        wanted: The job's choice; `auto` is the checkpoint's own where that is quantised, else
            bfloat16 on a GPU and float32 on the CPU.
        model: The checkpoint.
        gpus: Those that get a server each; empty for the CPU.

    Raises:
        ConfigurationError: The checkpoint is quantised another way, or a GPU cannot do it.
    """
    own = model.quantization
    if own is not None and wanted not in ("auto", own):
        raise ConfigurationError(
            f"dtype: {model.name} is quantised already ({own}), and cannot be served in {wanted}",
            remedy="Leave dtype out, or take the model's checkpoint in bfloat16.",
        )
    quantization = own or (FP8 if wanted == FP8 else None)
    if quantization is None:
        usual = "bfloat16" if gpus else "float32"
        return Precision(dtype=usual if wanted == "auto" else wanted)
    _check_devices(quantization, model=model, gpus=gpus, is_own=own is not None)
    # Told the name, SGLang leaves out its faster kernels for some of the other methods.
    return Precision(dtype="bfloat16", quantization=FP8 if quantization == FP8 else None)


def _check_devices(
    quantization: str, *, model: ModelFiles, gpus: Sequence[Gpu], is_own: bool
) -> None:
    subject = f"{model.name} is quantised ({quantization}), and" if is_own else "fp8:"
    remedy = (
        "Take the model's checkpoint in bfloat16"
        if is_own
        else 'Leave dtype out, or set dtype = "bfloat16"'
    )
    if not gpus:
        raise ConfigurationError(
            f"dtype: {subject} the CPU, on which this host would serve it, computes in no fewer"
            " than 16 bits",
            remedy=f"{remedy}, or use a host with {_FP8_CARDS}.",
        )
    if quantization != FP8:
        return
    for gpu in gpus:
        if gpu.compute_capability < _FIRST_WITH_FP8:
            major, minor = gpu.compute_capability
            raise ConfigurationError(
                f"dtype: {subject} GPU {gpu.index}, {gpu.name}, has no fp8 arithmetic"
                f" (compute capability {major}.{minor}; Ada's 8.9 is the first with it)",
                remedy=f"{remedy}, or use {_FP8_CARDS}.",
            )
