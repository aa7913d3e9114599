"""The key of a managed server stands nowhere but in the memory of those that need it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sglang_fixtures import RunningServer, light_environment

WATCHED = """
import sys
from pathlib import Path
from embed_index.jobs.main import main
from embed_index.pipeline.server.process import ManagedServer

whispered, start = Path(sys.argv.pop(1)), ManagedServer.start

def tell_and_start(server):
    whispered.write_text(server.key.get_secret_value())
    start(server)

ManagedServer.start = tell_and_start
main()
"""
"""The command line, told to whisper the random key to the test."""


CHILD = """
import resource, subprocess
from embed_index.jobs import main
_, allowed = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (allowed, allowed))
main.cli = lambda **_: subprocess.run(["cat", "/proc/self/limits"], check=True)
main.main()
"""
"""The command line where core files are wanted, with a child that tells what it may write."""


LOOK_SECONDS = 0.05


def write_corpus(folder: Path) -> None:
    texts = [f"Text number {number}. " * 100 for number in range(20)]
    table = pa.table({"id": [str(number) for number in range(20)], "text": texts})
    pq.write_table(table, folder / "a.parquet")


def process_files() -> Iterator[Path]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            yield process / "cmdline"
            yield process / "environ"


def holds(path: Path, key: bytes) -> bool:
    try:
        return key in path.read_bytes()
    except (OSError, PermissionError):
        return False


@pytest.mark.timeout(600)
def test_a_run_leaves_no_trace_of_its_key(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, sample_model: Path
) -> None:
    whispered = tmp_path_factory.mktemp("test-only") / "key"
    write_corpus(tmp_path)
    run = subprocess.Popen(
        [sys.executable, "-c", WATCHED, str(whispered), "--debug", "run", "--input", "a.parquet",
         "--collection", "secret", "--milvus-uri", "secret.db", "--model", str(sample_model),
         "--max-tokens", "128", "--log-format", "json",
         "--server-extra-args", "--log-level debug --log-requests --log-requests-level 3"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    num_looks = 0
    leaks: set[Path] = set()
    largest_family = 0
    while run.poll() is None:
        if whispered.exists() and (key := whispered.read_bytes()):
            leaks |= {path for path in process_files() if holds(path, key)}
            leaks |= {path for path in tmp_path.rglob("*") if path.is_file() and holds(path, key)}
            num_looks += 1
            largest_family = max(largest_family, len(psutil.Process(run.pid).children(True)))
        # Looking without pause takes one of two cores from the server.
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(LOOK_SECONDS)
    output = run.communicate()[0]

    assert run.returncode == 0, output.decode()
    assert num_looks > 20
    assert largest_family >= 3
    key = whispered.read_bytes()
    assert len(key) > 30
    assert key not in output
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.parent.name == "logs" for path in files)
    assert not leaks | {path for path in files if holds(path, key)}


def test_a_crash_leaves_no_core_file_with_keys_in_it() -> None:
    said = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True)

    (limits,) = [line for line in said.stdout.splitlines() if line.startswith("Max core file")]
    assert limits.split()[4:6] == ["0", "0"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_exits_130_leaves_nothing_running_and_goes_on_later(
    tmp_path: Path, sample_model: Path, sglang_server: RunningServer, number: signal.Signals
) -> None:
    command = interrupt(tmp_path, sample_model, number, environ=os.environ)

    server = sglang_server.server
    spared = {
        "EMBEDDING_API_BASE": server.url,
        "EMBEDDING_API_KEY": server.key.get_secret_value(),
    }
    assert go_on(command, tmp_path, environ=os.environ | spared)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_of_our_processes_that_is_interrupted_goes_on_later(
    tmp_path: Path, sample_model: Path, number: signal.Signals
) -> None:
    command = interrupt(tmp_path, sample_model, number, environ=light_environment())

    assert go_on(command, tmp_path, environ=light_environment())


def interrupt(
    folder: Path, model: Path, number: signal.Signals, *, environ: Mapping[str, str]
) -> list[str]:
    """Send a run a signal as soon as it has children; return its command."""
    write_corpus(folder)
    command = [
        sys.executable, "-m", "embed_index.jobs.main", "run", "--input", "a.parquet",
        "--collection", "cut", "--milvus-uri", "cut.db", "--model", str(model),
        "--max-tokens", "128", "--log-format", "json",
    ]  # fmt: skip
    run = subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True)
    family: list[psutil.Process] = []
    while not family and run.poll() is None:
        family = psutil.Process(run.pid).children(recursive=True)
    os.kill(run.pid, number)
    _, errors = run.communicate(timeout=120)

    assert run.returncode == 130, errors
    assert "Traceback" not in errors
    assert not [
        process for process in family if process.is_running() and process.status() != "zombie"
    ]
    return command


def go_on(command: list[str], folder: Path, *, environ: Mapping[str, str]) -> bytes:
    return subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True).stdout
