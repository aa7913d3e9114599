"""A server's log: one a life, bounded, without repetitions, and not for ever."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sglang_fixtures import StartServer

from embed_index.pipeline.server.server_log import BoundedLog, name_log, open_log
from embed_index.schemas.errors import ConfigurationError, ServerError

OWNER = "articles-20260102T030405Z-7"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    path, descriptor = open_log(tmp_path, "a")
    yield descriptor, path
    os.close(descriptor)


def ended(folder: Path, owner: str, *, gpu: int | None = None) -> Path:
    path, descriptor = open_log(folder, owner, gpu=gpu)
    os.close(descriptor)
    return path


def test_every_life_and_every_gpu_has_a_log_with_its_owners_name(tmp_path: Path) -> None:
    names = []
    for gpu in (None, None, None, 0, 1, 1):
        path = ended(tmp_path, OWNER, gpu=gpu)
        names.append(path.name.removeprefix(OWNER))

    assert names == [".log", ".2.log", ".3.log", "-gpu0.log", "-gpu1.log", "-gpu1.2.log"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_oldest_logs_of_servers_that_ended_go_and_nothing_else(tmp_path: Path) -> None:
    living, descriptor = open_log(tmp_path, "serve-20200101T000000Z-1")
    others = [tmp_path / "access.log", tmp_path / "notes.txt"]
    for path in others:
        path.write_text("ours")
    shared = [tmp_path / "embedding-server.log", tmp_path / "embedding-server.log.1"]
    for path in shared:
        path.touch()
    for path in (living, *others, *shared):
        os.utime(path, (0, 0))
    logs = []
    for number in range(25):
        logs.append(ended(tmp_path, f"articles-20260102T030405Z-{number}"))
        os.utime(logs[-1], (number + 1, number + 1))

    newest = ended(tmp_path, name_log("search"))

    # The one that is being opened is alive.
    assert sorted(tmp_path.iterdir()) == sorted([living, *others, *logs[-20:], newest])
    os.close(descriptor)


def test_a_folder_that_takes_no_log_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")

    with pytest.raises(ConfigurationError, match=r"cannot be written to .*/logs"):
        open_log(tmp_path / "logs", "a")


def test_repeated_lines_are_written_now_and_then_and_the_last_one_at_the_end(
    log: tuple[int, Path],
) -> None:
    descriptor, path = log
    clock = iter([0.0, 0.0, 1.0, 9.9, 10.0, 10.0, 11.0, 12.0, 13.0])
    bounded = BoundedLog(descriptor, now=lambda: next(clock))

    bounded.write(b"ready\n[1] Prefill batch, a\n[2] Pref")
    bounded.write(b"ill batch, b\n[3] Prefill batch, c\nwarning\n[4] Prefill batch, d\n")
    bounded.write(b"[5] Prefill batch, e\n[6] Prefill batch, f\nkilled")
    bounded.close(b"SGLang ended\n")

    assert path.read_text().splitlines() == [
        "ready",
        "[1] Prefill batch, a",
        "warning",
        "[4] Prefill batch, d",
        "[6] Prefill batch, f",
        "killed",
        "SGLang ended",
    ]


@pytest.mark.parametrize("num_lines", [99, 100, 10_000])
def test_a_log_keeps_its_beginning_and_its_end_and_stays_small(
    log: tuple[int, Path], num_lines: int
) -> None:
    descriptor, path = log
    bounded = BoundedLog(descriptor, max_bytes=1_000, head_bytes=95, tail_bytes=505)
    largest = 0
    for number in range(num_lines):
        bounded.write(b"%09d\n" % number)
        largest = max(largest, path.stat().st_size)

    lines = path.read_text().splitlines()
    assert lines[:9] == [f"{number:09}" for number in range(9)]
    assert lines[-50:] == [f"{number:09}" for number in range(num_lines - 50, num_lines)]
    assert largest <= 1_010
    assert all(len(line) == 9 or "bytes left out" in line for line in lines)


def test_a_line_without_an_end_is_not_held_for_ever(log: tuple[int, Path]) -> None:
    descriptor, path = log
    bounded = BoundedLog(descriptor)

    for _ in range(1_000):
        bounded.write(b"x" * 1_000)

    assert path.stat().st_size > 900_000


async def test_two_servers_of_one_folder_quote_only_what_they_said_themselves(
    new_light_server: StartServer,
) -> None:
    first, second = (new_light_server("--context-length", number) for number in ("first", "second"))
    for server in (first, second):
        server.start()

    for server, own, other in ((first, "'first'", "'second'"), (second, "'second'", "'first'")):
        with pytest.raises(ServerError) as caught:
            await server.wait_ready()
        assert own in caught.value.message
        assert other not in caught.value.message
        assert str(server.log_path) in caught.value.remedy
