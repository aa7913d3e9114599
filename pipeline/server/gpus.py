"""Which NVIDIA GPUs this process may use, asked of the driver: torch stays out of our process."""

import ctypes
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76
_MAX_NAME_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as `CUDA_VISIBLE_DEVICES` leaves it to us."""

    index: int
    """Position among the visible GPUs."""
    name: str
    compute_capability: tuple[int, int]
    """(9, 0) is Hopper."""
    memory_bytes: int
    uuid: str
    """As NVIDIA's tools write it; `GPU-` and five groups of hexadecimal digits."""


def newest_cuda() -> tuple[int, int] | None:
    """Return the newest CUDA that the driver can run, such as (13, 0); None without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value // 1000, version.value % 1000 // 10


def visible_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that the CUDA driver shows; empty without driver or GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    return tuple(_gpu(driver, index) for index in range(count.value))


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    device = ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), index)
    name = ctypes.create_string_buffer(_MAX_NAME_BYTES)
    driver.cuDeviceGetName(name, _MAX_NAME_BYTES, device)
    memory = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    identity = (ctypes.c_ubyte * 16)()
    driver.cuDeviceGetUuid(identity, device)
    return Gpu(
        index=index,
        name=name.value.decode(errors="replace"),
        compute_capability=(
            _attribute(driver, _COMPUTE_CAPABILITY_MAJOR, device=device),
            _attribute(driver, _COMPUTE_CAPABILITY_MINOR, device=device),
        ),
        memory_bytes=memory.value,
        uuid=f"GPU-{uuid.UUID(bytes=bytes(identity))}",
    )


def _attribute(driver: ctypes.CDLL, attribute: int, *, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    return value.value


_MAX_VERSION_BYTES = 96


class _Memory(ctypes.Structure):
    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


def driver_version() -> str | None:
    """Return the driver's version such as `580.65.06`; None without a driver."""
    version = ctypes.create_string_buffer(_MAX_VERSION_BYTES)
    with _library() as nvml:
        if nvml is None or nvml.nvmlSystemGetDriverVersion(version, _MAX_VERSION_BYTES) != 0:
            return None
    return version.value.decode(errors="replace")


def free_memory_bytes(uuid: str) -> int | None:
    """Return what nobody uses of a GPU's memory at present; None where that is not told."""
    device, memory = ctypes.c_void_p(), _Memory()
    with _library() as nvml:
        if (
            nvml is None
            or nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(device)) != 0
            or nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) != 0
        ):
            return None
    return int(memory.free)


@contextmanager
def _library() -> Iterator[ctypes.CDLL | None]:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        yield None
        return
    if nvml.nvmlInit_v2() != 0:
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()
