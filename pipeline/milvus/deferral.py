"""Stand-ins for packages that another package imports and that we never make use of.

A stand-in has any name that is asked for while the other package is imported, good for annotations
and imports by name. What uses it later gets the real thing, imported then.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


@contextmanager
def deferring(*names: str) -> Iterator[None]:
    """Put stand-ins in the place of modules that nobody has imported yet, and take them out again.

    Other threads that import one of them meanwhile wait until the stand-ins are gone.
    """
    importer = threading.get_ident()
    is_over = threading.Event()
    stand_ins = {
        name: _StandIn(name, importer=importer, is_over=is_over)
        for name in names
        if name.partition(".")[0] not in sys.modules
    }
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
        is_over.set()


class _StandIn(ModuleType):
    def __init__(self, name: str, *, importer: int, is_over: threading.Event) -> None:
        super().__init__(name)
        self._importer = importer
        self._is_over = is_over

    def __getattr__(self, name: str) -> Any:
        module = self.__name__
        if not self._is_over.is_set():
            if threading.get_ident() == self._importer:
                if name.startswith("__"):
                    raise AttributeError(name)
                return _placeholder(module, name)
            self._is_over.wait()
        return getattr(import_module(module), name)


def _placeholder(module: str, name: str) -> type:
    """Return a type for annotations that, where it is called, calls what it stands for."""

    def call(_cls: type, *args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(module), name)(*args, **kwargs)

    return type(name, (), {"__new__": call})
