"""GPUs by name, with the peaks that their makers state."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from embed_index.schemas.errors import ConfigurationError

_WANTED = re.compile(r"(?:(?P<count>[1-9][0-9]{0,3}) ?x ?)?(?P<name>\S.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuKind:
    """A kind of GPU."""

    name: str
    tflops: float
    """Dense, in bfloat16, as the data sheet has it."""
    memory_bytes: int
    has_fp8: bool


_KINDS = (
    GpuKind(name="H200", tflops=989, memory_bytes=141 * 10**9, has_fp8=True),
    GpuKind(name="H100 PCIe", tflops=756, memory_bytes=80 * 10**9, has_fp8=True),
    GpuKind(name="H100 NVL", tflops=835, memory_bytes=94 * 10**9, has_fp8=True),
    GpuKind(name="H100", tflops=989, memory_bytes=80 * 10**9, has_fp8=True),
    GpuKind(name="A100", tflops=312, memory_bytes=80 * 10**9, has_fp8=False),
    GpuKind(name="L40S", tflops=362, memory_bytes=48 * 10**9, has_fp8=True),
    GpuKind(name="L4", tflops=121, memory_bytes=24 * 10**9, has_fp8=True),
)
"""Where one name is the beginning of another, the longer stands first."""

KINDS: Mapping[str, GpuKind] = {kind.name: kind for kind in _KINDS}
USUAL = ("H200", "H100", "A100", "L40S", "L4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What embeds: GPUs of one kind, a CPU, or servers of somebody else."""

    name: str
    """As the driver calls the GPU, or as one asks for it."""
    count: int = 1
    kind: GpuKind | None = None
    """None for a CPU, and for a GPU of which nothing is known here."""
    is_gpu: bool = True
    """Servers of others are taken to have one each."""
    is_here: bool = False
    """Whether the job would run on it, so that its own runs of the past count."""

    @property
    def label(self) -> str:
        """In words, such as `2 x NVIDIA H100`."""
        return self.name if self.count == 1 else f"{self.count} x {self.name}"


def kind_of(driver_name: str) -> GpuKind | None:
    """Return the kind of a GPU by its driver's name, such as `NVIDIA A100-SXM4-80GB`."""
    words = re.split(r"[\s-]+", driver_name.casefold())
    for kind in _KINDS:
        if all(word in words for word in kind.name.casefold().split()):
            return kind
    return None


def find_device(wanted: str) -> Device:
    """Return what a user names, such as `H100` or `8xH100`.

    Raises:
        ConfigurationError: There is no such GPU in the table.
    """
    match = _WANTED.fullmatch(wanted.strip())
    kind = kind_of(match["name"]) if match else None
    if match is None or kind is None:
        raise ConfigurationError(
            f"on: nothing is known here of the speed of {wanted!r}; known are {', '.join(KINDS)}",
            remedy="Name one of these, several of one kind as 8xH100.",
        )
    return Device(name=kind.name, count=int(match["count"] or 1), kind=kind)
