"""A command that is interrupted ends, whatever it is in the middle of, and says so at once."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

COMMAND = """
import sqlite3, sys, threading, time
from embed_index.jobs import main
from embed_index.jobs.cli import interruption
from embed_index.jobs.cli.failures import Invocation
from embed_index.jobs.main import cli
import click

interruption._END_SECONDS = 1.0
interruption._END_AT_ONCE_SECONDS = 0.2
FOREVER = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"

def query():
    sqlite3.connect(":memory:").execute(FOREVER).fetchall()

def unwinding():
    try:
        threading.Event().wait()
    finally:
        query()

def thread():
    threading.Thread(target=query).start()
    threading.Event().wait()

def done():
    threading.Thread(target=query).start()

@cli.command("wait")
@click.argument("how")
@click.option("--json", is_flag=True)
@click.pass_context
def wait(ctx, how, json):
    ctx.ensure_object(Invocation).log_json = json
    ctx.ensure_object(Invocation).collection = "articles"
    print("ready", flush=True)
    globals()[how]()

main.LazyGroup.get_command = lambda *_: wait
main.main()
"""
"""The command line with a command that cannot be interrupted, and less patience with it."""

WORD = "articles: interrupted: ends; one more signal ends it at once"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the command and waits until it waits or calculates."""
    made: list[subprocess.Popen[str]] = []

    def make(*arguments: str, prefix: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", COMMAND, "wait", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        made.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        ready = _cpu_ticks(process.pid)
        while "unwinding" not in arguments and _cpu_ticks(process.pid) < ready + 5:
            time.sleep(0.01)
        return process

    yield make
    for process in made:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_call_that_does_not_come_back_is_told_of_at_once_and_left_in_the_end(
    start: Start, number: signal.Signals
) -> None:
    process = start("query")

    process.send_signal(number)
    assert process.stderr is not None
    assert process.stderr.readline() == f"{WORD}\n"
    assert process.poll() is None
    said = process.communicate(timeout=10)[1]

    assert process.returncode == 130
    assert said.startswith("error: articles: interrupted\n")


@pytest.mark.parametrize("how", ["query", "unwinding"])
def test_a_second_signal_shortens_the_wait(start: Start, how: str) -> None:
    process = start(how)
    began = time.monotonic()

    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=10)[1]

    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.count("error: articles: interrupted\n") == 1
    assert time.monotonic() - began < 1.0


def test_a_thread_that_does_not_end_does_not_hold_up_the_end(start: Start) -> None:
    process = start("thread")

    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=10)[1]

    assert process.returncode == 130
    assert said.startswith("error: articles: interrupted\n")
    assert said.count("\n") == 2


def test_a_command_that_has_ended_keeps_its_exit_code(start: Start) -> None:
    process = start("done")
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=10)[1]

    assert process.returncode in (0, 130)
    assert (process.returncode == 0) == (said == "")


def test_the_word_is_json_where_the_log_is(start: Start) -> None:
    process = start("query", "--json")

    process.send_signal(signal.SIGTERM)
    notice, error = map(json.loads, process.communicate(timeout=10)[1].splitlines())

    assert notice["event"] == "notice"
    assert notice["message"] == WORD.removeprefix("articles: ")
    assert error["event"] == "error"
    assert error["exit_code"] == 130


def test_a_reader_that_takes_nothing_does_not_hold_up_the_end(start: Start) -> None:
    process = start("query")
    assert process.stderr is not None
    filling = os.open(f"/proc/{process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
    while select.select([], [filling], [], 0)[1]:
        os.write(filling, b"x" * select.PIPE_BUF)
    os.close(filling)

    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=10) == 130


def test_a_closed_terminal_ends_no_command_under_nohup(start: Start) -> None:
    process = start("query", prefix=("nohup",))

    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)


def _cpu_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
