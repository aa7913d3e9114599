"""What `embed-index serve` makes of signals, on servers that are there at once."""

import asyncio
import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from fragile_server import FragileServer
from pydantic import SecretStr
from supervised import QUICK

from embed_index.jobs.adapters import servers as server_choice
from embed_index.jobs.serving import server as server_job
from embed_index.jobs.serving.served_keys import TakenKeys
from embed_index.jobs.serving.server import ServerJob, watchfulness_of
from embed_index.pipeline.secrecy.keyring import Keyring, hash_key
from embed_index.pipeline.server.gpus import Gpu
from embed_index.pipeline.server.serving import Watchfulness
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.settings import JobSettings

ReadKeys = Callable[[], TakenKeys]


def taken(key: str, *, until: float | None = None, is_credential_old: bool = False) -> TakenKeys:
    keyring = Keyring(hashed=(hash_key(SecretStr(key), name="(key)"),))
    return TakenKeys(keyring=keyring, until=until, is_credential_old=is_credential_old)


FIRST, SECOND = taken("ei-first"), taken("ei-second")
WATCHFUL = Watchfulness(answer_seconds=10.0, probe_pause_seconds=10.0, policy=QUICK)


class Running:
    """A job, the servers that it started, and what it says."""

    def __init__(
        self, read_keys: ReadKeys, make_server: Callable[[], FragileServer], first: TakenKeys
    ) -> None:
        self._make_server = make_server
        self.keyrings: list[Keyring] = []
        self.servers: list[FragileServer] = []
        self._said: asyncio.Queue[str] = asyncio.Queue()
        job = ServerJob(
            launcher=self._launch,
            watchfulness=WATCHFUL,
            tell=self._said.put_nowait,
            read_keys=read_keys,
        )
        self.task = asyncio.create_task(job.run(first))

    def _launch(self, keyring: Keyring) -> FragileServer:
        self.keyrings.append(keyring)
        self.servers.append(self._make_server())
        return self.servers[-1]

    async def says(self) -> str:
        return await asyncio.wait_for(self._said.get(), 60)

    async def end(self) -> None:
        await asyncio.wait_for(self.task, 60)
        assert not [server for server in self.servers if server.is_alive()]


@asynccontextmanager
async def ready(
    read_keys: ReadKeys,
    *,
    make_server: Callable[[], FragileServer] = FragileServer,
    first: TakenKeys = FIRST,
) -> AsyncIterator[Running]:
    job = Running(read_keys, make_server, first)
    assert (await job.says()).startswith("ready at http://127.0.0.1:")
    try:
        yield job
    finally:
        job.task.cancel()
        await asyncio.gather(job.task, return_exceptions=True)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def unreadable() -> TakenKeys:
    raise ConfigurationError("key file k is open to others", remedy="Close it.")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_to_stop_ends_the_server_and_the_job(number: signal.Signals) -> None:
    async with ready(lambda: SECOND) as job:
        send(number)
        await job.end()

    assert job.keyrings == [FIRST.keyring]
    assert not job.servers[0].was_killed


class BusyServer(FragileServer):
    """Finishes what is in flight for ever, unless it is cut off."""

    async def stop(self) -> None:
        if self.is_alive():
            try:
                await asyncio.Event().wait()
            finally:
                self.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_signal_to_stop_cuts_off_what_is_in_flight(
    number: signal.Signals,
) -> None:
    async with ready(lambda: SECOND, make_server=BusyServer) as job:
        send(number)
        assert "one more signal ends it at once" in await job.says()
        send(signal.SIGHUP)
        send(number)
        await job.end()

    assert job.keyrings == [FIRST.keyring]
    assert job.servers[0].was_killed


async def test_a_hangup_gives_the_server_the_keys_as_they_are_now_without_a_restart() -> None:
    async with ready(lambda: SECOND) as job:
        send(signal.SIGHUP)
        assert await job.says() == "takes one key"
        (server,) = job.servers
        assert server.is_alive()
        assert server.keyrings == [SECOND.keyring]


async def test_a_server_that_takes_the_place_of_another_has_the_keys_as_they_are_now() -> None:
    async with ready(lambda: SECOND) as job:
        send(signal.SIGHUP)
        assert await job.says() == "takes one key"
        job.servers[0].die()
        assert "It is started again." in await job.says()
        assert (await job.says()).startswith("ready at")

    assert job.keyrings == [FIRST.keyring, SECOND.keyring]


async def test_keys_are_read_again_when_the_time_of_one_is_over() -> None:
    both = taken("ei-first", until=time.time() + 0.05)
    async with ready(lambda: SECOND, first=both) as job:
        assert await job.says() == "takes one key"
        assert job.servers[0].keyrings == [SECOND.keyring]


async def test_keys_that_cannot_be_read_stay_and_are_read_again_where_one_is_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_job, "_READ_AGAIN_SECONDS", 0.05)
    answers: Iterator[ReadKeys] = iter([unreadable, lambda: SECOND])

    def read() -> TakenKeys:
        return next(answers)()

    both = taken("ei-first", until=time.time() + 0.05)
    async with ready(read, first=both) as job:
        assert await job.says() == "the keys stay as they are: key file k is open to others"
        assert await job.says() == "takes one key"
        assert job.servers[0].keyrings == [SECOND.keyring]


async def test_keys_that_cannot_be_read_leave_the_server_as_it_is() -> None:
    async with ready(unreadable) as job:
        send(signal.SIGHUP)
        assert await job.says() == "the keys stay as they are: key file k is open to others"
        assert job.servers[0].is_alive()
        send(signal.SIGTERM)
        await job.end()

    assert job.keyrings == [FIRST.keyring]
    assert job.servers[0].keyrings == []


async def test_a_service_whose_credential_systemd_must_renew_ends() -> None:
    old = taken("ei-first", is_credential_old=True)
    async with ready(lambda: old) as job:
        send(signal.SIGHUP)
        said = [await job.says(), await job.says()]
        assert "systemd starts it again" in said[1]
        await job.end()


async def test_a_hangup_ends_a_server_whose_terminal_was_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([True, False])
    monkeypatch.setattr(server_job, "has_terminal", lambda: next(answers))
    async with ready(lambda: SECOND) as job:
        send(signal.SIGHUP)
        await job.end()

    assert job.keyrings == [FIRST.keyring]


GPU = Gpu(index=0, name="H200", compute_capability=(9, 0), memory_bytes=1 << 37, uuid="GPU-0")


@pytest.mark.parametrize(
    ("gpus", "given", "seconds"),
    [
        ((), {}, 5 + 300 + 32_768 / 20),
        ((GPU,), {}, 5 + 300 + 32_768 / 1_000),
        ((), {"request_timeout_seconds": 1, "max_tokens": 512}, 5 + 1 + 512 / 20),
    ],
)
def test_a_server_may_be_silent_for_as_long_as_its_longest_input_takes(
    monkeypatch: pytest.MonkeyPatch,
    gpus: tuple[Gpu, ...],
    given: dict[str, object],
    seconds: float,
) -> None:
    monkeypatch.setattr(server_choice, "visible_gpus", lambda: gpus)

    assert watchfulness_of(JobSettings.model_validate(given)).answer_seconds == seconds


async def test_a_hangup_ends_no_server_under_nohup_whose_terminal_was_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([True, False])
    monkeypatch.setattr(server_job, "has_terminal", lambda: next(answers))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with ready(lambda: SECOND) as job:
            send(signal.SIGHUP)
            assert await job.says() == "takes one key"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_log_on_a_full_disk_does_not_end_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())

    server_job._tell("ready at http://127.0.0.1:30000/v1")


TERMINAL = """
import os, pty, signal, sys
from embed_index.jobs.cli.signals import has_terminal
pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGHUP, lambda *_: os._exit(has_terminal()))
    os.write(1, b"has one" if has_terminal() else b"has none")
    signal.pause()
said = os.read(terminal, 100).decode()
os.close(terminal)
sys.exit(f"{said}, then {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")
"""


def test_closing_a_terminal_takes_it_away_before_the_hangup_comes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL], capture_output=True, text=True, timeout=60
    )

    assert done.stderr == "has one, then 0\n"
