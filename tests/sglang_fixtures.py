"""A real SGLang server on the CPU, started once for all tests that need one."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from embed_index.pipeline.embedding_server import ManagedServer
from embed_index.pipeline.server_access import ServerAccess
from embed_index.pipeline.sglang_launch import ServerProfile

SAMPLE_WIDTH = 512
SAMPLE_VOCABULARY = 8192
MAX_TOKENS = 32_768

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


@pytest.fixture
def new_server(sample_model: Path, tmp_path: Path) -> Iterator[StartServer]:
    """Makes servers that are gone after the test, whatever it did to them."""
    made: list[ManagedServer] = []

    def make(
        *extra_flags: str,
        model: Path | str = sample_model,
        port: int | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> ManagedServer:
        server = ManagedServer(
            cpu_profile(model, *extra_flags),
            log_folder=tmp_path / "logs",
            port=port,
            environ=environ,
        )
        made.append(server)
        return server

    yield make
    for server in made:
        server.kill()
