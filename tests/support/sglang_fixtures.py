"""A real SGLang server on the CPU, started once for all tests that need one, and light doubles.

A start of the real one costs 17 seconds of processor time, nearly all of it imports on one core.
Tests of our own processes around it (guard, supervision, signals) therefore run on the
stand-in of `light_sglang`, and prove each kind of ending on the real one once.
"""

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.server.launch import CPU_PLATFORM, ServerProfile
from embed_index.pipeline.server.launch_checks import free_port
from embed_index.pipeline.server.process import ManagedServer
from embed_index.pipeline.server.process_group import kill_group

SAMPLE_WIDTH = 512
SAMPLE_VOCABULARY = 8192
MAX_TOKENS = 32_768

LIGHT_SGLANG = Path(__file__).parent / "light_sglang"

StartServer = Callable[..., ManagedServer]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    server: ManagedServer
    access: ServerAccess


def cpu_profile(model: Path | str, *extra_flags: str, max_tokens: int = 512) -> ServerProfile:
    return ServerProfile(
        model=str(model),
        device="cpu",
        max_tokens=max_tokens,
        dtype="float32",
        extra_flags=extra_flags,
    )


@pytest.fixture(scope="session")
def sglang_server(
    sample_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """The sample model at full input length, logging all that SGLang can say."""
    server = ManagedServer(
        cpu_profile(sample_model, "--log-level", "debug", max_tokens=MAX_TOKENS),
        log_folder=tmp_path_factory.mktemp("sglang"),
    )
    server.start()
    try:
        access = asyncio.run(server.wait_ready(dimension=SAMPLE_WIDTH))
        yield RunningServer(server=server, access=access)
    finally:
        asyncio.run(server.stop())


@contextmanager
def stock_server(model: Path, *flags: str, log: Path) -> Iterator[tuple[str, str]]:
    """SGLang as its own command line starts it, nothing of ours but the CPU platform.

    Yields:
        Address and key.
    """
    port, key = free_port(), secrets.token_hex()
    command = [sys.executable, "-m", "sglang.launch_server", "--model-path", str(model)]
    command += ["--device", "cpu", "--is-embedding", "--host", "127.0.0.1", "--port", str(port)]
    # Without a bound the pool takes half of the machine's memory.
    command += ["--api-key", key, "--max-total-tokens", "4096", *flags]
    environment = os.environ | {"SGLANG_PLATFORM": CPU_PLATFORM, "CUDA_VISIBLE_DEVICES": ""}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        while not _is_ready(url):
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.2)
        yield url, key
    finally:
        kill_group(process.pid)
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=10).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def light_environment() -> dict[str, str]:
    """Return our environment with the stand-in before the real SGLang."""
    path = f"{LIGHT_SGLANG}{os.pathsep}{LIGHT_SGLANG.parent}"
    return os.environ | {"PYTHONPATH": path}


@contextmanager
def _server_maker(
    sample_model: Path, folder: Path, environ: Mapping[str, str]
) -> Iterator[StartServer]:
    made: list[ManagedServer] = []

    def make(
        *extra_flags: str,
        model: Path | str = sample_model,
        port: int | None = None,
        environ: Mapping[str, str] = environ,
        **more: Any,
    ) -> ManagedServer:
        server = ManagedServer(
            cpu_profile(model, *extra_flags),
            log_folder=folder / "logs",
            port=port,
            environ=environ,
            **more,
        )
        made.append(server)
        return server

    yield make
    for server in made:
        server.kill()


@pytest.fixture
def new_server(sample_model: Path, tmp_path: Path) -> Iterator[StartServer]:
    """Makes servers that are gone after the test, whatever it did to them."""
    with _server_maker(sample_model, tmp_path, os.environ) as make:
        yield make


@pytest.fixture
def new_light_server(sample_model: Path, tmp_path: Path) -> Iterator[StartServer]:
    """Makes servers of ours around the stand-in for SGLang."""
    with _server_maker(sample_model, tmp_path, light_environment()) as make:
        yield make
