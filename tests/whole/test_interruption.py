"""Every command that may take long, and every signal that ends one: the table of how it ends."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hash_embedding_server import HashEmbeddingServer
from interrupted import Commands
from job_fixtures import JobFolder
from key_fixtures import keys
from process_marks import wait_for
from sglang_fixtures import light_environment
from stalling_milvus import StallingMilvus

from embed_index.pipeline.disk.lock import find_holder
from embed_index.pipeline.ledger.ledger import move_ledger
from embed_index.pipeline.server.serving_record import find_serving

GRACE_SECONDS = 1.0
END_SECONDS = GRACE_SECONDS + 5.0
"""A command that hangs ends itself so long after the first signal."""
WORD_SECONDS = 0.5
BUSY_SECONDS = 4.0
"""For a machine with something else to do."""
STUBBORN_SERVE = Path(__file__).parent.parent / "support" / "stubborn_serve.py"

Ready = Callable[[], bool]


@dataclass(kw_only=True)
class Place:
    """A collection of two versions behind servers that stall when they are told to."""

    job: JobFolder
    milvus: StallingMilvus

    @contextmanager
    def milvus_stalls(self, call: str) -> Iterator[Ready]:
        with self.milvus.stalling(call) as was_asked:
            yield was_asked.is_set

    @contextmanager
    def server_stalls(self) -> Iterator[Ready]:
        with self.job.server.silent() as was_asked:
            yield was_asked.is_set

    @contextmanager
    def serve_stalls(self) -> Iterator[Ready]:
        """Have a server run that does not take another key."""
        hangups = self.job.state / "hangups"
        hangups.unlink(missing_ok=True)
        command = [sys.executable, str(STUBBORN_SERVE), str(self.job.state), str(self.key_file)]
        with subprocess.Popen([*command, "ignores"]) as serve:
            try:
                wait_for(lambda: find_serving(self.job.state) is not None, seconds=30)
                yield hangups.exists
            finally:
                serve.kill()

    @contextmanager
    def own_server(self) -> Iterator[Ready]:
        """Nothing stalls; a server of our own is loading, or has just come up."""
        logs = self.job.state / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        yield lambda: any(log.stat().st_size for log in logs.glob("*.log"))

    @property
    def key_file(self) -> Path:
        return self.job.folder / "key"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("interruption")
    database = folder / "store.db"
    documents: dict[str, str | None] = {f"d{n}": f"Text {n} speaks of pumps." for n in range(20)}
    with HashEmbeddingServer() as server:
        job = JobFolder(folder=folder, uri=str(database), model=sample_model, server=server)
        job.write({**documents, "lettered": None})
        job.run("--max-dead-letters", "1")
        job.run("--max-dead-letters", "1", "--rebuild")
        job.write({**documents, "lettered": "A text by now.", "new": "Never indexed."})
        with StallingMilvus(database) as milvus:
            place = Place(job=replace(job, uri=milvus.uri), milvus=milvus)
            # What a job of that Milvus would have kept had it made the versions.
            move_ledger(job.ledger, to=place.job.ledger)
            assert keys("generate", "--key-file", str(place.key_file)).exit_code == 0
            yield place


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with Commands() as commands:
        yield commands


def on_corpus(place: Place, command: str, *more: str) -> list[str]:
    _, *flags = place.job.arguments(*more)
    at = flags.index("--collection")
    del flags[at : at + 2]
    return [command, place.job.collection, *flags]


def on_collection(place: Place, command: str, *more: str) -> list[str]:
    job = place.job
    where = ["--milvus-uri", job.uri, "--state-dir", str(job.state)]
    return [command, job.collection, *more, *where]


def search(place: Place) -> list[str]:
    where = ["--milvus-uri", place.job.uri, "--model", str(place.job.model)]
    return ["search", place.job.collection, "pumps", *where]


def describe(place: Place) -> list[str]:
    return ["describe", place.job.collection, "--milvus-uri", place.job.uri]


def doctor(place: Place) -> list[str]:
    return ["doctor", *place.job.arguments()[1:]]


def on_key(place: Place, command: str, *more: str) -> list[str]:
    return ["keys", command, "--key-file", str(place.key_file), *more]


def rotate(place: Place) -> list[str]:
    return on_key(place, "rotate", "--state-dir", str(place.job.state))


def serve(place: Place) -> list[str]:
    model, state = str(place.job.model), str(place.job.state)
    return ["serve", "--key-file", str(place.key_file), "--model", model, "--state-dir", state]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command, and what it waits for when the signals come."""

    arguments: Callable[[Place], list[str]]
    waits: Callable[[Place], AbstractContextManager[Ready]]
    codes: frozenset[int] = frozenset({130})
    own_server: bool = False


def milvus(call: str) -> Callable[[Place], AbstractContextManager[Ready]]:
    return lambda place: place.milvus_stalls(call)


def corpus(command: str, *more: str) -> Callable[[Place], list[str]]:
    return lambda place: on_corpus(place, command, *more)


def collection(command: str, *more: str) -> Callable[[Place], list[str]]:
    return lambda place: on_collection(place, command, *more)


def run(*more: str) -> Callable[[Place], list[str]]:
    return lambda place: place.job.arguments(*more)


CASES = {
    "run: server": Case(arguments=run(), waits=Place.server_stalls),
    "run: Milvus": Case(arguments=run(), waits=milvus("Upsert")),
    "run: connecting": Case(arguments=run(), waits=milvus("ShowCollections")),
    "run: own server": Case(arguments=run(), waits=Place.own_server, own_server=True),
    "run --rebuild: server": Case(arguments=run("--rebuild"), waits=Place.server_stalls),
    "run --rebuild: Milvus": Case(arguments=run("--rebuild"), waits=milvus("CreateCollection")),
    "retry: server": Case(arguments=corpus("retry"), waits=Place.server_stalls),
    "retry: Milvus": Case(arguments=corpus("retry"), waits=milvus("Upsert")),
    "verify: server": Case(arguments=corpus("verify"), waits=Place.server_stalls),
    "verify: Milvus": Case(arguments=corpus("verify"), waits=milvus("Query")),
    "verify --repair: server": Case(
        arguments=corpus("verify", "--repair", "--sample", "0"), waits=Place.server_stalls
    ),
    "verify --repair: Milvus": Case(
        arguments=corpus("verify", "--repair", "--sample", "0"), waits=milvus("Upsert")
    ),
    "promote": Case(arguments=collection("promote"), waits=milvus("DescribeCollection")),
    "rollback": Case(arguments=collection("rollback"), waits=milvus("AlterAlias")),
    "gc": Case(arguments=collection("gc", "--keep", "0"), waits=milvus("DropCollection")),
    "describe": Case(arguments=describe, waits=milvus("Query")),
    "search: server": Case(arguments=search, waits=Place.server_stalls),
    "search: Milvus": Case(arguments=search, waits=milvus("Search")),
    "doctor: server": Case(arguments=doctor, waits=Place.server_stalls),
    "doctor: Milvus": Case(arguments=doctor, waits=milvus("ShowCollections")),
    "keys rotate": Case(arguments=rotate, waits=Place.serve_stalls),
    "serve": Case(
        arguments=serve, waits=Place.own_server, own_server=True, codes=frozenset({0, 130})
    ),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ENDINGS = [(number, times) for number in SIGNALS for times in (1, 2)]


def table() -> Iterator[Any]:
    """Every command with every signal, once and twice; of each command one ending is quick."""
    for row, name in enumerate(CASES):
        for column, (number, times) in enumerate(ENDINGS):
            if name == "serve" and number == signal.SIGHUP:
                # It reads its key anew: tests of its own prove that.
                continue
            is_quick = column == row % len(ENDINGS) or name == "verify: Milvus"
            marks = () if is_quick else (pytest.mark.slow,)
            row_id = f"{name}-{number.name}-{times}"
            yield pytest.param(CASES[name], [number] * times, id=row_id, marks=marks)


@pytest.mark.parametrize(("case", "numbers"), [*table()])
def test_a_command_that_is_interrupted_ends_soon_and_leaves_nothing(
    place: Place,
    commands: Commands,
    mark: str,
    case: Case,
    numbers: list[signal.Signals],
    record_property: Callable[[str, object], None],
) -> None:
    job = place.job
    environ = light_environment() if case.own_server else {**os.environ, **job.environment}
    with case.waits(place) as is_at_work:
        ending = commands.interrupt(
            case.arguments(place),
            mark=mark,
            folder=job.folder,
            environ={**environ, "EMBED_INDEX_GRACE_SECONDS": str(GRACE_SECONDS)},
            is_at_work=is_at_work,
            numbers=numbers,
        )

    record_property("code", ending.code)
    record_property("seconds", round(ending.seconds, 1))
    record_property("word", round(ending.word_seconds, 2))
    assert ending.code in case.codes, ending.said
    assert "Traceback" not in ending.said
    assert ending.seconds < END_SECONDS + BUSY_SECONDS
    assert ending.word_seconds < WORD_SECONDS + BUSY_SECONDS, ending.said
    assert ending.left == []
    assert find_holder(job.state / f"{job.collection}.lock") is None
    assert find_serving(job.state) is None
