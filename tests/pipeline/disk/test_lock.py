import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from embed_index.pipeline.disk.lock import RunLock, find_holder
from embed_index.schemas.errors import ConfigurationError, LockHeldError

HOLDS = """
import sys
from pathlib import Path
from embed_index.pipeline.disk.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

RACES = """
import sys
from pathlib import Path
from embed_index.pipeline.disk.lock import RunLock
from embed_index.schemas.errors import LockHeldError
for line in sys.stdin:
    try:
        with RunLock(Path(line.strip())):
            print("works", flush=True)
            sys.stdin.readline()
    except LockHeldError:
        print("refused", flush=True)
        sys.stdin.readline()
    print("left", flush=True)
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "docs.lock"


def test_the_second_run_hears_who_holds_the_lock_since_when(
    path: Path, in_zone: Callable[[str], None]
) -> None:
    in_zone("Asia/Kathmandu")
    with RunLock(path), pytest.raises(LockHeldError) as raised, RunLock(path):
        pass

    expected = rf"process {os.getpid()} on \S+, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\+05:45"
    assert re.search(expected, raised.value.message)
    assert str(path) in raised.value.remedy


def test_a_released_lock_can_be_taken_again(path: Path) -> None:
    lock = RunLock(path)
    for _ in range(3):
        with lock:
            assert path.read_text()
    lock.release()

    with RunLock(path):
        assert path.read_text()


def test_one_lock_object_is_not_entered_twice(path: Path) -> None:
    lock = RunLock(path)
    with lock:
        with pytest.raises(RuntimeError, match="already in use"):
            lock.__enter__()
        with pytest.raises(LockHeldError), RunLock(path):
            pass


def test_an_exception_releases_the_lock(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunLock(path):
        raise KeyboardInterrupt

    with RunLock(path):
        pass


@pytest.mark.parametrize("left", ['{"pid": 1, "host": "h", "started_at": "t"}', "", "{", "[]"])
def test_what_a_dead_holder_left_blocks_nobody(path: Path, left: str) -> None:
    path.parent.mkdir()
    path.write_text(left)

    with RunLock(path):
        assert f'"pid": {os.getpid()}' in path.read_text()


def test_a_killed_holder_frees_the_lock(path: Path) -> None:
    with start(HOLDS, str(path)) as holder:
        assert hear(holder) == "held"
        with pytest.raises(LockHeldError, match=f"process {holder.pid} on"), RunLock(path):
            pass

        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=60)

        with RunLock(path):
            pass


def test_an_unreadable_description_does_not_hide_that_the_lock_is_held(path: Path) -> None:
    with RunLock(path):
        path.write_text("")
        with pytest.raises(LockHeldError, match="only just now"), RunLock(path):
            pass


def test_two_processes_starting_at_once_never_both_work(tmp_path: Path) -> None:
    with start(RACES) as first, start(RACES) as second:
        for race in range(50):
            for process in (first, second):
                say(process, str(tmp_path / f"{race}.lock"))
            assert sorted((hear(first), hear(second))) == ["refused", "works"]
            for process in (first, second):
                say(process, "leave")
                assert hear(process) == "left"
        for process in (first, second):
            assert process.stdin is not None
            process.stdin.close()


def test_of_many_threads_exactly_one_works(path: Path) -> None:
    barrier = Barrier(8)

    def attempt(_: int) -> bool:
        barrier.wait(timeout=60)
        try:
            with RunLock(path):
                barrier.wait(timeout=60)
        except LockHeldError:
            barrier.wait(timeout=60)
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            assert sum(pool.map(attempt, range(8))) == 1


def test_a_surviving_executed_child_does_not_hold_the_lock(path: Path) -> None:
    with RunLock(path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    survivor = RunLock(path)
    with child, survivor:
        assert child.poll() is None


FORKS = """
import os, sys
from pathlib import Path
from embed_index.pipeline.disk.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.__enter__()
if os.fork() == 0:
    print("forked", flush=True)
    sys.stdin.read()
    os._exit(0)
os.kill(os.getpid(), 9)
"""


def test_a_surviving_forked_child_does_not_hold_the_lock(path: Path) -> None:
    with start(FORKS, str(path)) as parent:
        assert hear(parent) == "forked"
        assert parent.wait(timeout=60) == -signal.SIGKILL

        with RunLock(path):
            pass


def test_a_forked_child_cannot_release_its_parents_lock(path: Path) -> None:
    lock = RunLock(path)
    with lock:
        child = multiprocessing.get_context("fork").Process(target=lock.release)
        child.start()
        child.join(60)

        assert child.exitcode == 0
        assert path.read_text()
        with pytest.raises(LockHeldError), RunLock(path):
            pass


def test_a_lock_file_that_vanishes_while_it_is_taken_is_taken_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    opened: list[int] = []
    real_open = os.open

    def open_then_remove(*arguments: object, **options: object) -> int:
        opened.append(real_open(*arguments, **options))  # type: ignore[arg-type]
        if len(opened) == 1:
            path.unlink()
        return opened[-1]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_then_remove)
        lock = RunLock(path)
        lock.__enter__()

    with pytest.raises(LockHeldError), RunLock(path):
        pass
    lock.release()
    assert len(opened) == 2


def test_a_place_that_cannot_hold_a_lock_is_named(path: Path) -> None:
    path.mkdir(parents=True)

    with pytest.raises(ConfigurationError, match="cannot be taken"), RunLock(path):
        pass


def test_nobody_holds_a_lock_where_there_can_be_none(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("")

    assert find_holder(path / "below-a-file.lock") is None
