"""A managed server's life: its checks, its key, and its certain end.

Around the real SGLang; where only the process around it is at stake, around the light stand-in.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from process_marks import MARK, processes_with, wait_for
from sglang_fixtures import (
    MAX_TOKENS,
    SAMPLE_VOCABULARY,
    SAMPLE_WIDTH,
    RunningServer,
    StartServer,
    cpu_profile,
    light_environment,
)

from embed_index.pipeline.embedding.client import (
    ClientLimits,
    EmbeddingClient,
)
from embed_index.pipeline.embedding.embedder import RequestRefusedError
from embed_index.pipeline.embedding.wire import ServerDialect
from embed_index.pipeline.server.launch import ServerProfile
from embed_index.pipeline.server.process import ManagedServer
from embed_index.pipeline.server.process_group import living_members
from embed_index.schemas.errors import ConfigurationError, EmbedIndexError, ServerError
from embed_index.schemas.records import TokenIds

LIMITS = ClientLimits(vocab_size=SAMPLE_VOCABULARY, max_tokens=MAX_TOKENS)
NUM_WITH_CHILDREN = 4
"""Guard, SGLang, and at least two of its children."""


def sglang_of(server: ManagedServer) -> int:
    """The process that the guard forked."""
    assert server.process_group is not None
    children = Path(f"/proc/{server.process_group}/task/{server.process_group}/children")
    return int(children.read_text().split()[0])


def num_members(server: ManagedServer) -> int:
    assert server.process_group is not None
    return len(living_members(server.process_group))


# --- a server that runs ---------------------------------------------------------------------


def test_the_server_says_what_it_serves(sglang_server: RunningServer, sample_model: Path) -> None:
    access = sglang_server.access

    assert access.width == SAMPLE_WIDTH
    assert access.dialect == ServerDialect(cuts=True, takes_base64=True, counts_tokens=True)
    assert access.dtype == "float32"
    # Its context, which is smaller than its pool, less the token that SGLang wants to spare.
    assert access.max_input_tokens == MAX_TOKENS + 7
    assert str(sample_model) in access.models
    assert re.fullmatch(r"sglang \d+\.\d+\.\d+.*", access.engine)
    assert access.missing == ()


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Basic {key}"}, 401),
        ({"x-api-key": "{key}"}, 401),
        ({"Authorization": "Bearer {key}"}, 200),
    ],
)
@pytest.mark.parametrize("route", ["/model_info", "/v1/models", "/server_info"])
def test_protected_routes_ask_for_the_key(
    sglang_server: RunningServer, route: str, header: dict[str, str], status: int
) -> None:
    server = sglang_server.server
    key = server.key.get_secret_value()
    headers = {name: value.format(key=key) for name, value in header.items()}

    assert httpx.get(server.url + route, headers=headers, timeout=60).status_code == status


async def test_texts_of_ids_are_embedded_at_every_dimension(sglang_server: RunningServer) -> None:
    inputs = [np.arange(300, 300 + n, dtype=np.int32) for n in (1, 30, 400)]
    async with EmbeddingClient(sglang_server.server.endpoint, limits=LIMITS) as client:
        full = await client.embed(inputs, dimension=SAMPLE_WIDTH)
        cut = await client.embed(inputs, dimension=64)

    assert full.shape == (3, SAMPLE_WIDTH)
    again = full[:, :64] / np.linalg.norm(full[:, :64], axis=1)[:, None]
    np.testing.assert_allclose(cut, again, atol=1e-5)


async def test_an_input_of_the_longest_length_is_embedded(sglang_server: RunningServer) -> None:
    longest = np.resize(np.arange(3, 8000, dtype=np.int32), MAX_TOKENS)
    async with EmbeddingClient(sglang_server.server.endpoint, limits=LIMITS) as client:
        (vector,) = await client.embed([longest], dimension=SAMPLE_WIDTH)

    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("token_ids", [[], [SAMPLE_VOCABULARY], [1, -3]])
async def test_ids_that_kill_a_server_do_not_reach_it(
    sglang_server: RunningServer, token_ids: list[int]
) -> None:
    ids: TokenIds = np.array(token_ids, dtype=np.int32)
    async with EmbeddingClient(sglang_server.server.endpoint, limits=LIMITS) as client:
        with pytest.raises(RequestRefusedError):
            await client.embed([np.array([1], dtype=np.int32), ids], dimension=64)
    assert sglang_server.server.is_alive()


def test_no_process_shows_the_key(sglang_server: RunningServer) -> None:
    key = sglang_server.server.key.get_secret_value().encode()
    looked_at = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    assert key not in (process / name).read_bytes()
                    looked_at += 1
    assert looked_at > 2 * num_members(sglang_server.server)


def test_nothing_of_the_server_listens_beyond_this_host(sglang_server: RunningServer) -> None:
    group = sglang_server.server.process_group
    assert group is not None
    listening = [
        connection.laddr
        for pid in living_members(group)
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert listening
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_the_log_is_ours_alone_and_holds_no_key(sglang_server: RunningServer) -> None:
    server = sglang_server.server
    log = server.log_path.read_bytes()

    assert b"***" in log
    assert server.key.get_secret_value().encode() not in log
    assert stat.S_IMODE(server.log_path.stat().st_mode) == 0o600
    assert "server_args" in log.decode(errors="replace")


def test_what_the_server_tells_of_its_launch_has_no_key(sglang_server: RunningServer) -> None:
    server = sglang_server.server
    told = httpx.get(
        server.url + "/server_info", headers=server.endpoint.bearer(), timeout=60
    ).json()

    assert server.key.get_secret_value() not in str(told["launch_command"])


def test_no_representation_shows_the_key(sglang_server: RunningServer) -> None:
    server = sglang_server.server
    shown = f"{server!r} {server.endpoint!r} {server.key!r} {server.key} {vars(server)!r}"

    assert server.key.get_secret_value() not in shown


# --- servers that must not start --------------------------------------------------------------


def test_a_port_in_use_is_refused_before_anything_starts(new_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = new_server(port=port)
        with pytest.raises(ConfigurationError, match=f"Port {port} .*\n.*Choose another port"):
            server.start()
    assert server.process_group is None
    assert not server.log_path.exists()


@pytest.mark.parametrize(
    "flags",
    [
        ("--api-key", "k"),
        ("--api-key=k",),
        ("--api-k", "k"),
        ("--admin-api-key", "k"),
        ("--config", "f.yaml"),
        ("--host", "0.0.0.0"),
        ("--port", "1"),
        ("--crash-dump-folder", "/tmp"),
    ],
)
def test_flags_that_undo_the_protection_are_refused(
    new_server: StartServer, flags: tuple[str, ...]
) -> None:
    server = new_server(*flags)
    with pytest.raises(ConfigurationError, match="not allowed"):
        server.start()
    assert server.process_group is None


@pytest.mark.parametrize("model", ["/nowhere/model", "./nowhere", "a/b/c"])
def test_a_model_folder_that_does_not_exist_is_refused(new_server: StartServer, model: str) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        new_server(model=model).start()


def test_a_folder_that_holds_no_model_is_refused(new_server: StartServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no config\.json"):
        new_server(model=tmp_path).start()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    server: ManagedServer
    error: EmbedIndexError | None
    left: list[int]
    """Processes of the server that were still there when its start failed."""


@pytest.fixture(scope="module")
def failures(sample_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Failure]:
    """Servers that start side by side and must not get ready; each spends its time on imports."""
    folder = tmp_path_factory.mktemp("failures")
    without_weights = shutil.copytree(
        sample_model, folder / "model", ignore=shutil.ignore_patterns("*.safetensors")
    )
    profiles = {
        "no weights": cpu_profile(without_weights),
        "unknown flag": cpu_profile(sample_model, "--no-such-flag"),
        "small pool": cpu_profile(sample_model, "--max-total-tokens", "512"),
    }

    async def fail(name: str, profile: ServerProfile) -> Failure:
        mark = secrets.token_hex()
        server = ManagedServer(
            profile, log_folder=folder / name, environ={**os.environ, MARK: mark}
        )
        server.start()
        try:
            await server.wait_ready()
        except EmbedIndexError as error:
            return Failure(server=server, error=error, left=processes_with(mark))
        finally:
            server.kill()
        return Failure(server=server, error=None, left=[])

    async def fail_all() -> list[Failure]:
        return await asyncio.gather(*(fail(*named) for named in profiles.items()))

    return dict(zip(profiles, asyncio.run(fail_all()), strict=True))


def test_a_model_without_weights_ends_the_start_with_the_logs_last_lines(
    failures: dict[str, Failure],
) -> None:
    failure = failures["no weights"]
    error, server = failure.error, failure.server

    assert isinstance(error, ServerError)
    assert "ended while it was starting" in str(error)
    assert "Its last log lines:" in str(error)
    assert "Cannot find any model weights" in str(error)
    assert str(server.log_path) in error.remedy
    assert server.key.get_secret_value() not in str(error)
    assert failure.left == []


def test_an_unknown_flag_ends_the_start_with_sglangs_own_words(
    failures: dict[str, Failure],
) -> None:
    error = failures["unknown flag"].error

    assert isinstance(error, ServerError)
    assert "unrecognized arguments: --no-such-flag" in str(error)


def test_a_pool_too_small_for_the_longest_input_is_refused(failures: dict[str, Failure]) -> None:
    failure = failures["small pool"]

    assert isinstance(failure.error, ConfigurationError)
    assert "at most 511 tokens, and this job needs 512" in str(failure.error)
    assert failure.left == []


async def test_a_context_too_small_for_the_longest_input_is_refused(
    new_light_server: StartServer,
) -> None:
    server = new_light_server("--context-length", "512")
    server.start()

    with pytest.raises(ConfigurationError, match="at most 511 tokens, and this job needs 512"):
        await server.wait_ready()

    assert not server.is_alive()


# --- every ending -------------------------------------------------------------------------------


async def test_a_server_killed_while_it_loads_is_reported_and_leaves_nothing(
    new_light_server: StartServer, mark: str
) -> None:
    server = new_light_server(environ={**light_environment(), MARK: mark})
    server.start()
    wait_for(lambda: num_members(server) >= NUM_WITH_CHILDREN)

    os.kill(sglang_of(server), signal.SIGKILL)

    with pytest.raises(ServerError, match="ended: signal 9"):
        await server.wait_ready()
    assert processes_with(mark) == []


async def test_a_server_ends_with_its_block_while_it_is_starting(
    new_light_server: StartServer, mark: str
) -> None:
    async def fail() -> None:
        async with server:
            wait_for(lambda: num_members(server) >= NUM_WITH_CHILDREN)
            raise ZeroDivisionError

    server = new_light_server(environ={**light_environment(), MARK: mark})
    with pytest.raises(ZeroDivisionError):
        await fail()
    assert processes_with(mark) == []
    assert not server.is_alive()


async def test_a_cancelled_start_leaves_nothing(new_server: StartServer, mark: str) -> None:
    server = new_server(environ={**os.environ, MARK: mark})
    server.start()
    ready = asyncio.create_task(server.wait_ready())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ready, timeout=0.5)
    assert processes_with(mark) == []


async def test_a_ready_server_that_dies_is_noticed_and_a_stop_is_quiet(
    new_light_server: StartServer, mark: str
) -> None:
    async with new_light_server(environ={**light_environment(), MARK: mark}) as server:
        await server.wait_ready()
        watching = asyncio.create_task(server.watch())
        os.kill(sglang_of(server), signal.SIGKILL)
        with pytest.raises(ServerError, match="ended unexpectedly"):
            await watching
        assert processes_with(mark) == []
    await server.stop()


PARENT = """
import asyncio, json, os, signal, sys
from pathlib import Path
from embed_index.pipeline.server.process import ManagedServer
from embed_index.pipeline.server.launch import ServerProfile

async def main(model, folder, forks=""):
    profile = ServerProfile(model=model, device="cpu", max_tokens=512, dtype="float32")
    async with ManagedServer(profile, log_folder=Path(folder)) as server:
        if forks and os.fork() == 0:
            signal.pause()
        print(json.dumps(server.process_group), flush=True)
        await server.wait_ready()
        print('"ready"', flush=True)
        await server.watch()

asyncio.run(main(*sys.argv[1:]))
"""


class Parent:
    """Another process of ours that starts a server."""

    def __init__(
        self,
        model: Path,
        folder: Path,
        mark: str,
        *arguments: str,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(model), str(folder), *arguments],
            env={**environ, MARK: mark},
            stdout=subprocess.PIPE,
        )

    def says(self) -> object:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def at_once(group: int, parent: Parent) -> None:
    return


def with_children(group: int, parent: Parent) -> None:
    wait_for(lambda: len(living_members(group)) >= NUM_WITH_CHILDREN)


def when_ready(group: int, parent: Parent) -> None:
    assert parent.says() == "ready"


@pytest.mark.parametrize(
    ("moment", "environ"),
    [
        (at_once, os.environ),
        # The real one's children, while they start, are bound to nobody.
        (with_children, os.environ),
        (when_ready, light_environment()),
    ],
    ids=["at_once", "with_children", "when_ready"],
)
def test_a_server_ends_when_our_process_is_killed(
    sample_model: Path,
    tmp_path: Path,
    mark: str,
    moment: Callable[[int, Parent], None],
    environ: Mapping[str, str],
) -> None:
    parent = Parent(sample_model, tmp_path, mark, environ=environ)
    try:
        group = parent.says()
        assert isinstance(group, int)
        moment(group, parent)
    finally:
        parent.kill()

    wait_for(lambda: not processes_with(mark), seconds=3)


def test_a_fork_of_our_process_that_lives_on_does_not_keep_the_server(
    sample_model: Path, tmp_path: Path, mark: str
) -> None:
    parent = Parent(sample_model, tmp_path, mark, "forks")
    try:
        group = parent.says()
        assert isinstance(group, int)
    finally:
        parent.kill()

    wait_for(lambda: not living_members(group), seconds=5)
    # Whoever watched over the group ends a moment after it.
    wait_for(lambda: len(processes_with(mark)) == 1, seconds=3)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(30))
def test_a_server_ends_when_our_process_is_killed_at_any_second(
    sample_model: Path, tmp_path: Path, mark: str, attempt: int
) -> None:
    parent = Parent(sample_model, tmp_path, mark)
    try:
        threading.Event().wait(random.uniform(0, 25))
    finally:
        parent.kill()

    wait_for(lambda: not processes_with(mark), seconds=3)
