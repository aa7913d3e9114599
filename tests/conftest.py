"""Fixtures that several test modules share."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from embed_index.pipeline.model.files import find_model
from embed_index.pipeline.model.tokenizer import ModelTokenizer

pytest_plugins = [
    "job_fixtures",
    "key_fixtures",
    "library_fixtures",
    "milvus_fixtures",
    "process_marks",
    "secured_milvus",
    "sglang_fixtures",
    "storage_fixtures",
]

ROOT = Path(__file__).resolve().parent.parent


# How long an example or its making takes says nothing on a machine that has other work, too.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

_STARTS_SERVERS = re.compile(r"\b(sglang_server|new_server|stock_server|ServeProcess)\b")


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling:
    """Give files to workers, those that start SGLang to one: two at once make time-outs lie."""

    class OneServerAtATime(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            starts_servers = _STARTS_SERVERS.search((config.rootpath / file).read_text())
            return "SGLang" if starts_servers else file

    return OneServerAtATime(config, log)


def pytest_configure() -> None:
    """Under nohup or in the background, have what tests start heed signals that we do not."""
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) == signal.SIG_IGN:
            # A new program inherits what is ignored, and not what is handled.
            signal.signal(number, lambda *_: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have what takes longest begin first, so that no worker is left with it at the end."""

    def is_short(item: pytest.Item) -> bool:
        waits = {"sglang_server", "new_server"} & set(getattr(item, "fixturenames", ()))
        return not waits and not any(map(item.get_closest_marker, ("milvus_server", "timeout")))

    items.sort(key=is_short)


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def sample_corpus() -> Path:
    return ROOT / "sample_data" / "corpus"


@pytest.fixture(scope="session")
def sample_model() -> Path:
    """The small lexical checkpoint; building it again costs nothing while it is current."""
    folder = ROOT / ".cache" / "sample-model"
    subprocess.run(
        [sys.executable, str(ROOT / "sample_data" / "build_model.py"), str(folder)],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="session")
def tokenizer(sample_model: Path) -> ModelTokenizer:
    return ModelTokenizer.load(find_model(str(sample_model)))


@pytest.fixture
def in_zone() -> Iterator[Callable[[str], None]]:
    """Put this process into a time zone, and back at the end of the test."""

    def put(zone: str) -> None:
        patched.setenv("TZ", zone)
        time.tzset()

    with pytest.MonkeyPatch.context() as patched:
        yield put
    time.tzset()
