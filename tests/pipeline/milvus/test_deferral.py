"""A stand-in costs nothing until it is used, and is then the real thing."""

import subprocess
import sys
from pathlib import Path

USE = """
import sys
sys.path.insert(0, sys.argv[1])
from embed_index.pipeline.milvus.deferral import deferring
"""
USER = """
import heavy as h
from heavy.deep import is_number, Shape
def area(shape: h.Shape, other: Shape) -> list[h.Shape]: ...
def is_shape(thing): return isinstance(thing, h.Shape)
"""
HEAVY = """
from heavy.deep import Shape
import threading; loaded_by = threading.get_ident()
"""
DEEP = """
class Shape: ...
def is_number(thing): return isinstance(thing, int)
"""


def python(folder: Path, program: str) -> str:
    (folder / "heavy").mkdir()
    (folder / "heavy" / "__init__.py").write_text(HEAVY)
    (folder / "heavy" / "deep.py").write_text(DEEP)
    (folder / "user.py").write_text(USER)
    command = [sys.executable, "-c", USE + program, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stderr
    return done.stdout


def test_a_module_is_imported_when_it_is_used(tmp_path: Path) -> None:
    program = """
with deferring("heavy", "heavy.deep"):
    import user
before = [name for name in sys.modules if name.startswith("heavy")]
number = user.is_number(1), user.is_number("1")
import heavy
print(before, number, user.is_shape(heavy.Shape()), user.is_shape(1), hasattr(heavy, "__path__"))
"""
    assert python(tmp_path, program) == "[] (True, False) True False True\n"


def test_a_module_that_is_there_is_left_alone(tmp_path: Path) -> None:
    program = """
import heavy
with deferring("heavy", "heavy.deep"):
    import user
    import heavy.deep
print(user.h is heavy, user.Shape is heavy.Shape, sys.modules["heavy"] is heavy)
"""
    assert python(tmp_path, program) == "True True True\n"


def test_another_thread_gets_the_real_module(tmp_path: Path) -> None:
    program = """
import threading
begun = threading.Event()
found = []
def look():
    import heavy
    begun.set()
    from heavy import Shape
    from heavy.deep import is_number
    found.extend([Shape, is_number])
with deferring("heavy", "heavy.deep"):
    import user
    thread = threading.Thread(target=look)
    thread.start()
    begun.wait()
thread.join()
import heavy.deep
print(found == [heavy.Shape, heavy.deep.is_number])
"""
    assert python(tmp_path, program) == "True\n"


def test_a_failed_import_leaves_no_stand_in(tmp_path: Path) -> None:
    program = """
try:
    with deferring("heavy", "heavy.deep"):
        raise ImportError
except ImportError:
    import heavy.deep
print(heavy.deep.is_number(1))
"""
    assert python(tmp_path, program) == "True\n"
