"""Places that do not answer are named on standard error while they are waited for."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
from job_fixtures import JobFolder
from object_store import HURRIED

from embed_index.jobs.adapters import inputs, places
from embed_index.pipeline.milvus.store import open_store
from embed_index.pipeline.storage.store import Storage
from embed_index.pipeline.storage.systems import S3Access
from embed_index.schemas import waits
from embed_index.schemas.settings import JobSettings

SECONDS = 1.0
"""How long the places of these tests are silent."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "_QUIET_SECONDS", SECONDS / 10)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def answering_late(job: JobFolder) -> Iterator[None]:
    with job.server.silent():
        timer = threading.Timer(SECONDS, job.server.answer)
        timer.start()
        yield
        timer.join()


def search(job: JobFolder) -> str:
    where = ["--milvus-uri", job.uri, "--model", str(job.model), "--state-dir", str(job.state)]
    return job.call("search", job.collection, "pumps", *where).stderr


def doctor(job: JobFolder) -> str:
    return job.call("doctor", *job.arguments()[1:]).stderr


def plain_run(job: JobFolder) -> str:
    return job.run("--rebuild").stderr


def json_run(job: JobFolder) -> str:
    events = map(json.loads, job.run("--rebuild", "--log-format", "json").stderr.splitlines())
    return "\n".join(event["message"] for event in events if event["event"] == "notice")


@pytest.mark.parametrize("call", [search, doctor, plain_run, json_run])
def test_an_embedding_server_that_does_not_answer_is_named(
    lite_job: JobFolder, call: Callable[[JobFolder], str]
) -> None:
    lite_job.write({"a": "Pumps."})
    lite_job.run()

    with answering_late(lite_job):
        said = call(lite_job)

    where = f"waiting for the embedding server at {lite_job.server.url}, until it answers or "
    assert where in said


def test_a_milvus_that_refuses_is_named(
    lite_job: JobFolder, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "open_store", partial(open_store, connect_seconds=SECONDS))
    uri = f"http://127.0.0.1:{closed_port}"

    done = lite_job.call("describe", "articles", "--milvus-uri", uri, expect=4)

    notice, error, *_ = done.stderr.splitlines()
    assert notice.startswith(f"waiting for Milvus at {uri}, until it answers or ")
    assert error.startswith("error: ")


@pytest.mark.usefixtures("s3_credentials")
def test_a_store_that_is_away_is_named(
    lite_job: JobFolder, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = replace(HURRIED, deadline_seconds=SECONDS)

    def open_storage(settings: JobSettings, **_: object) -> Storage:
        return Storage(S3Access(endpoint=settings.source_endpoint), patience=patience)

    monkeypatch.setattr(inputs, "open_storage", open_storage)
    endpoint = f"http://127.0.0.1:{closed_port}"
    _, flag, _, *flags = lite_job.arguments()
    arguments = ["plan", flag, "s3://corpus/docs", "--source-endpoint", endpoint, *flags]

    done = lite_job.call(*arguments, expect=4)

    assert "waiting for s3://corpus, until it answers or " in done.stderr
