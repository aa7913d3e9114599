"""SGLang's platform plugin for machines without a GPU: plain PyTorch operators.

SGLang finds `activate` through its entry point group `sglang.srt.platforms` and loads it in every
process of the server. Nothing else imports this module, so torch stays out of ours. The in-tree CPU
engine is no substitute: it needs kernels that are not published for plain CPU PyTorch.
"""

from typing import Any

_PLATFORM_CLASS = "TorchCpuPlatform"


def activate() -> str | None:
    """Return the platform's import path, or None where CUDA is present.

    A GPU host loads this plugin too; there it stands aside for SGLang's own CUDA platform.
    """
    import torch

    if torch.cuda.is_available():
        return None
    declare_torchvision_operators()
    return f"{__name__}:{_PLATFORM_CLASS}"


def declare_torchvision_operators() -> None:
    """Let a CUDA build of torchvision be imported under CPU PyTorch.

    The published torchvision is built for CUDA: under CPU PyTorch its C++ operators do not load,
    and its meta registrations fail at import unless these two schemas exist. SGLang and
    Transformers import torchvision unconditionally; text embedding never calls it.
    """
    import torch

    if torch.version.cuda is not None or hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept_libraries.append(library)


_kept_libraries: list[Any] = []
"""A schema is undeclared again when its library object is collected."""


def __getattr__(name: str) -> Any:
    """Build the platform class on demand: its bases exist only while SGLang is loading."""
    if name != _PLATFORM_CLASS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sglang.srt.platforms.cpu import CpuDeviceMixin
    from sglang.srt.platforms.device_mixin import PlatformEnum
    from sglang.srt.platforms.interface import SRTPlatform

    class TorchCpuPlatform(CpuDeviceMixin, SRTPlatform):  # type: ignore[misc]
        """CPU device operations with SGLang's native PyTorch layers and attention."""

        _enum = PlatformEnum.OOT
        device_name = "cpu"
        device_type = "cpu"

        def get_default_attention_backend(self) -> str:
            return "torch_native"

    globals()[name] = TorchCpuPlatform
    return TorchCpuPlatform
