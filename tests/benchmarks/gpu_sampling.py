"""How busy the GPUs are, sampled in a thread: by NVML where it is there, else by nvidia-smi."""

import contextlib
import importlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_INTERVAL_SECONDS = 0.05
_SMI = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")


class GpuSampler:
    """Collects utilisation while its context is open."""

    def __init__(self) -> None:
        self._read = _reader()
        self._samples: list[tuple[float, float]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def idle_share(self, *, begin: float, end: float) -> float | None:
        """Return the share of a stretch of monotonic time without any kernel running.

        None without a GPU. What the driver reports is itself a mean over a fraction of a second.
        """
        inner = [busy for at, busy in self._samples if begin <= at <= end]
        return 1 - sum(inner) / len(inner) / 100 if inner else None

    def _sample(self) -> None:
        while self._read is not None and not self._stopped.wait(_INTERVAL_SECONDS):
            self._samples.append((time.monotonic(), self._read()))


def _reader() -> Callable[[], float] | None:
    with contextlib.suppress(ImportError):
        nvml = importlib.import_module("pynvml")
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlInit()
            # The driver's own tools count all GPUs; CUDA counts those that it may see.
            first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
            device = nvml.nvmlDeviceGetHandleByIndex(int(first))
            return lambda: float(nvml.nvmlDeviceGetUtilizationRates(device).gpu)
    return _read_smi if shutil.which("nvidia-smi") else None


def _read_smi() -> float:
    done = subprocess.run(_SMI, capture_output=True, text=True, timeout=10, check=True)
    return float(done.stdout.split()[0])
