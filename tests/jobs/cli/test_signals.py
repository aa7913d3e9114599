"""What signals do to a job."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from embed_index.jobs.cli.failures import ignoring_signals
from embed_index.jobs.cli.signals import stopping_on_signals
from embed_index.jobs.main import cli

Work = Callable[[], Awaitable[None]]


class Stage:
    """Something that can be asked to stop."""

    def __init__(self, *, in_flight: bool) -> None:
        self.asked = asyncio.Event()
        self._in_flight = in_flight

    def stop(self) -> bool:
        self.asked.set()
        return self._in_flight


def send(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


async def run(stage: Stage, work: Work, *, grace_seconds: float = 60.0) -> None:
    with stopping_on_signals(stage.stop, grace_seconds=grace_seconds):
        await work()


async def forever() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_what_is_in_flight_finish(number: signal.Signals) -> None:
    async def main() -> bool:
        stage = Stage(in_flight=True)

        async def work() -> None:
            send(number)
            await stage.asked.wait()

        await run(stage, work)
        return stage.asked.is_set()

    assert asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_cuts_it_off(number: signal.Signals) -> None:
    async def main() -> None:
        stage = Stage(in_flight=True)

        async def work() -> None:
            send(number)
            await stage.asked.wait()
            send(number)
            await forever()

        await run(stage, work)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


@pytest.mark.parametrize(("in_flight", "grace_seconds"), [(False, 60.0), (True, 0.0), (True, 0.05)])
def test_nothing_in_flight_or_a_grace_that_is_over_cuts_off(
    in_flight: bool, grace_seconds: float
) -> None:
    async def main() -> None:
        stage = Stage(in_flight=in_flight)

        async def work() -> None:
            send()
            await forever()

        await run(stage, work, grace_seconds=grace_seconds)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


@pytest.fixture
def interrupting() -> Iterator[None]:
    """Let SIGTERM interrupt, as the command line does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("interrupting")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_work_still_interrupts(number: signal.Signals) -> None:
    async def main() -> None:
        await run(Stage(in_flight=True), lambda: asyncio.sleep(0))

    asyncio.run(main())
    with pytest.raises(KeyboardInterrupt):
        send(number)


@pytest.mark.usefixtures("interrupting")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_last_words_does_nothing(number: signal.Signals) -> None:
    with ignoring_signals():
        send(number)
    with pytest.raises(KeyboardInterrupt):
        send(number)


STARTS = """
import os, signal
from embed_index.jobs import main
from embed_index.jobs.main import cli

@cli.command("wait")
def wait():
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()

main.COMMANDS = {"wait": ""}
main.LazyGroup.get_command = lambda *_: wait
main.main()
"""


def test_sigterm_ends_any_command_with_130() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTS, "wait"], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 130, done.stderr
    assert done.stderr == "error: interrupted\nGive the same command again to have it done.\n"


@pytest.mark.parametrize(
    ("command", "work", "goes_on"),
    [
        ("run", "embed_index.jobs.runs.index.run_index_job", True),
        ("plan", "embed_index.jobs.planning.planning.plan_job", False),
    ],
)
def test_of_what_was_interrupted_only_a_run_is_said_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, work: str, goes_on: bool
) -> None:
    def interrupted(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, interrupted)

    done = CliRunner().invoke(cli, [command, "--input", "a", "--collection", "c"])

    assert done.exit_code == 130
    assert ("it goes on where it stopped" in done.stderr) == goes_on


def test_a_cancellation_without_a_signal_stays_one() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(run(Stage(in_flight=True), forever))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
