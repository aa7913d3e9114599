"""What bounds the process' memory holds in a process of its own."""

import subprocess
import sys


def said_by(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_commands_have_arrow_give_back_what_it_does_not_need() -> None:
    program = """
from embed_index.jobs import main
def show(**_):
    import pyarrow
    print(pyarrow.default_memory_pool().backend_name)
main.cli = show
main.main()
"""
    assert said_by(program) == "system\n"


def test_arrow_does_without_pandas_and_others_have_it() -> None:
    program = """
import sys
from embed_index.pipeline.disk.heap import leave_out_pandas
leave_out_pandas()
import pyarrow as pa, pyarrow.dataset
print(pa.array([1, None]).fill_null(2).to_numpy().tolist(), pa.table({"a": ["b"]}).to_pylist())
print("pandas" in sys.modules)
import pandas
print(len(pandas.DataFrame({"a": [1]})))
"""
    assert said_by(program) == "[1, 2] [{'a': 'b'}]\nFalse\n1\n"
