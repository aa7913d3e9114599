"""Whether this host's GPU can serve a model: driver and memory."""

from collections.abc import Sequence
from pathlib import Path

from embed_index.pipeline.server.gpus import (
    Gpu,
    driver_version,
    free_memory_bytes,
    newest_cuda,
    visible_gpus,
)
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.host_check import HostCheck

_NEEDED_CUDA = (13, 0)
"""What the kernels of SGLang 0.5.16 and later are built for."""
_NEEDED_DRIVER = "580"
_PCI_DEVICES = Path("/sys/bus/pci/devices")
_NVIDIA, _DISPLAY_CLASS = "0x10de", "0x03"
_WORKSPACE_SHARE = 1.2
_WORKSPACE_BYTES = 4 << 30
"""For activations of a forward pass, kernels, and SGLang's own reserve; an estimate."""


def check_gpu() -> HostCheck:
    """Tell which GPUs a server would run on.

    Raises:
        ConfigurationError: There is a GPU that cannot be used.
    """
    gpus, cuda, driver = visible_gpus(), newest_cuda(), driver_version() or "of unknown version"
    if not gpus:
        if _has_nvidia_gpu():
            raise ConfigurationError(
                "this host has an NVIDIA GPU, and CUDA finds none",
                remedy=f"Install NVIDIA's driver, {_NEEDED_DRIVER} or newer, and check "
                "CUDA_VISIBLE_DEVICES and the rights on /dev/nvidia*.",
            )
        return HostCheck(
            subject="GPU",
            outcome="warning",
            found="none; the server runs on the CPU, and is slow",
            remedy="Enough to try things out. For a corpus, use a host with an NVIDIA GPU.",
        )
    if cuda is not None and cuda < _NEEDED_CUDA:
        raise ConfigurationError(
            f"driver {driver} runs CUDA up to {_dotted(cuda)}, "
            f"and SGLang needs {_dotted(_NEEDED_CUDA)}",
            remedy=f"Install NVIDIA's driver, {_NEEDED_DRIVER} or newer.",
        )
    names = ", ".join(f"{gpu.index}: {gpu.name}" for gpu in gpus)
    return HostCheck(subject="GPU", outcome="ok", found=f"{names}; driver {driver}")


def check_gpu_memory(gpus: Sequence[Gpu], *, weight_bytes: int) -> HostCheck:
    """Compare the GPUs' memory with what a model needs.

    Args:
        gpus: Those that get a server each.
        weight_bytes: Size of the model's weights.

    Raises:
        ConfigurationError: The model does not fit on one of them.
    """
    needed = round(weight_bytes * _WORKSPACE_SHARE) + _WORKSPACE_BYTES
    small = [gpu for gpu in gpus if gpu.memory_bytes < needed]
    if small:
        raise ConfigurationError(
            f"the model needs about {_gib(needed)}, "
            f"and GPU {small[0].index} has {_gib(small[0].memory_bytes)}",
            remedy="Choose a smaller model, or another GPU with --gpus.",
        )
    free = {gpu.index: free_memory_bytes(gpu.uuid) for gpu in gpus}
    for index, free_bytes in free.items():
        if free_bytes is not None and free_bytes < needed:
            return HostCheck(
                subject="GPU memory",
                outcome="warning",
                found=f"the model needs about {_gib(needed)}, "
                f"and {_gib(free_bytes)} of GPU {index} are free",
                remedy="See with nvidia-smi who uses it, and end that before the run.",
            )
    room = ", ".join(_gib(gpu.memory_bytes) for gpu in gpus)
    return HostCheck(
        subject="GPU memory", outcome="ok", found=f"{room}, the model needs about {_gib(needed)}"
    )


def _has_nvidia_gpu() -> bool:
    return any(
        _read(device / "vendor") == _NVIDIA and _read(device / "class").startswith(_DISPLAY_CLASS)
        for device in _PCI_DEVICES.glob("*")
    )


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
