"""Keep the process as small as what it holds.

glibc gives every thread a heap of its own and keeps freed texts in it. A stage steps through
several threads, so after some gigabytes of corpus each of their heaps is as large as the largest
thing that ever passed. One heap, and large blocks outside of it, cost no measurable time here and
keep peak memory independent of the corpus' size (`tests/benchmarks/bench_memory.py`).
"""

import ctypes
import sys
from importlib.machinery import ModuleSpec

import pyarrow as pa

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE_BLOCK_BYTES = 4 << 20
"""A batch of small rows stays below: mapping its pages anew each time is a fifth of reading."""


def bound_heap() -> None:
    """Set up the allocators; call it before threads are started. Other C libraries are left be."""
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def give_back() -> None:
    """Give the system what was freed; for after something large, such as reading a vocabulary."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def leave_out_pandas() -> None:
    """Have Arrow take it that there is no pandas, which it would import to convert a first value.

    That costs half a second and 50 MB. From now on no table becomes a data frame in this process,
    so this is for commands, not for libraries.
    """
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.scalar(0)
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    @staticmethod
    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError(name)
        return None
