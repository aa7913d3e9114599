"""NVIDIA's management library: what the driver says of itself and of a GPU's memory."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

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
