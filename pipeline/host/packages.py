"""Whether what a server is made of is installed; looked up, never imported."""

import importlib.metadata
import re

from embed_index.pipeline.server.launch import CPU_PLATFORM
from embed_index.pipeline.server.launch_checks import check_installed
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.host_check import HostCheck

_OLDEST, _FIRST_UNTRIED = (0, 5, 16), (0, 5, 24)
_RANGE = "0.5.16 to 0.5.23"
_PLATFORM_GROUP = "sglang.srt.platforms"


def check_sglang() -> HostCheck:
    """Compare SGLang's version with those that are known to work.

    Raises:
        ConfigurationError: It is not installed.
    """
    check_installed()
    version = importlib.metadata.version("sglang")
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if not _OLDEST <= numbers < _FIRST_UNTRIED:
        return HostCheck(
            subject="SGLang",
            outcome="warning",
            found=f"{version}; tried were {_RANGE}",
            remedy="Install one of those: pip install '.[gpu]' in the folder of embed-index.",
        )
    return HostCheck(subject="SGLang", outcome="ok", found=version)


def check_torch(*, on_gpu: bool) -> HostCheck:
    """Tell PyTorch's version.

    Raises:
        ConfigurationError: It is not installed, or cannot use the GPU that is there.
    """
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigurationError(
            "PyTorch is not installed",
            remedy="Install the extra `gpu`, or the CPU set-up of the README.",
        ) from None
    if on_gpu and version.endswith("+cpu"):
        raise ConfigurationError(
            f"PyTorch {version} is built without CUDA, and this host has a GPU",
            remedy="In a new environment: pip install '.[gpu]' in the folder of embed-index.",
        )
    return HostCheck(subject="PyTorch", outcome="ok", found=version)


def check_cpu_platform() -> HostCheck:
    """Look for the plugin that lets SGLang run without a GPU.

    Raises:
        ConfigurationError: SGLang would not find it.
    """
    points = importlib.metadata.entry_points(group=_PLATFORM_GROUP, name=CPU_PLATFORM)
    if not points:
        raise ConfigurationError(
            f"SGLang does not find the platform {CPU_PLATFORM}, without which it needs a GPU",
            remedy="Install embed-index into SGLang's environment: pip install --no-deps .",
        )
    return HostCheck(subject="CPU platform", outcome="ok", found=CPU_PLATFORM)
