"""A run below a parent: however the child ends, the parent ends with a code that says so."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from process_marks import MARK, processes_with, wait_for

PROGRAM = """
import os, signal, sys, time
from embed_index.jobs.cli import below_parent
from embed_index.jobs.cli.below_parent import run_below_parent
from embed_index.jobs.cli.failures import Invocation, report
from embed_index.jobs.cli.interruption import Interruption
from embed_index.schemas.errors import ConfigurationError, UnavailableError

below_parent._MODULE = "program"

def work():
    print("works", os.getpid(), flush=True)
    {work}

invocation = Invocation()
with Interruption(invocation):
    try:
        run_below_parent(work, lost=UnavailableError("it was lost"))
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        sys.exit(report(error, invocation))
"""


def start(folder: Path, work: str, mark: str) -> "subprocess.Popen[str]":
    (folder / "program.py").write_text(PROGRAM.replace("{work}", work))
    return subprocess.Popen(
        [sys.executable, str(folder / "program.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(folder), MARK: mark},
    )


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        ("pass", 0, ""),
        ("raise ConfigurationError('bad')", 2, "error: bad"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("os._exit(1)", 4, "error: it was lost"),
        ("os._exit(130)", 130, ""),
        ("os.kill(os.getpid(), signal.SIGABRT)", 4, "error: it was lost"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, ""),
    ],
)
def test_the_parent_ends_as_the_child_told_or_says_that_it_was_lost(
    tmp_path: Path, mark: str, work: str, code: int, said: str
) -> None:
    process = start(tmp_path, work, mark)
    output, errors = process.communicate(timeout=60)

    assert process.returncode == code, errors
    assert said in errors
    assert output.count("works") == 1


def test_a_code_that_was_told_stands_whatever_ends_the_process_afterwards(
    tmp_path: Path, mark: str
) -> None:
    process = start(tmp_path, "import atexit; atexit.register(os._exit, 1)", mark)
    process.communicate(timeout=60)

    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_child_once(tmp_path: Path, mark: str, number: signal.Signals) -> None:
    work = (
        "count = []; "
        "[signal.signal(n, lambda n, f: count.append(n)) for n in (1, 2, 15)]; "
        "print('ready', flush=True); "
        "[time.sleep(0.05) for _ in iter(lambda: bool(count), True)]; "
        "time.sleep(0.3); "
        "print('signals', [int(n) for n in count], flush=True)"
    )
    process = start(tmp_path, work, mark)
    assert process.stdout is not None
    process.stdout.readline(), process.stdout.readline()
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)

    assert output.strip() == f"signals [{number.value}]", errors
    assert process.returncode == 0


def test_the_child_ends_with_its_parent(tmp_path: Path, mark: str) -> None:
    process = start(tmp_path, "time.sleep(100)", mark)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()

    wait_for(lambda: not processes_with(mark), seconds=10)
    process.communicate()
