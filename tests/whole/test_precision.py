"""Nights in another precision: refused by name, allowed where the job says so."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder

from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.schemas.summary import RunCounters

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps. " * (n + 1) for n in range(4)}
MORE = CORPUS | {"new": "One more document."}


def computing_in(**says: str) -> HashEmbeddingServer:
    return HashEmbeddingServer(says={"version": "0.5.17", "dtype": "bfloat16"} | says)


@pytest.fixture
def in_bfloat16(lite_job: JobFolder) -> Iterator[JobFolder]:
    """A job whose collection was made in bfloat16, and whose corpus has grown since."""
    with computing_in() as server:
        job = replace(lite_job, server=server)
        job.write(CORPUS)
        job.run()
        job.write(MORE)
        yield job


@pytest.fixture
def in_fp8(in_bfloat16: JobFolder) -> Iterator[JobFolder]:
    """The same job, the night after."""
    with computing_in(quantization="fp8") as server:
        yield replace(in_bfloat16, server=server)


def test_an_fp8_night_does_not_enter_a_bfloat16_collection_unasked(in_fp8: JobFolder) -> None:
    done = in_fp8.run(expect=2)

    lines = done.stderr.splitlines()
    error = next(line for line in lines if line.startswith("error:"))
    remedy = lines[lines.index(error) + 1]
    assert (
        f"{in_fp8.collection}_v1 was made in bfloat16, and this job's server computes in fp8"
        in error
    )
    assert "mixed_precision = true" in remedy
    assert set(in_fp8.doc_hashes("v1")) == set(CORPUS)


def test_with_the_jobs_leave_it_does_and_says_what_was_measured(in_fp8: JobFolder) -> None:
    done = in_fp8.run("--mixed-precision", "--log-format", "json")

    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["precision"] == "fp8"
    assert "canary texts, cosine short 1.0000, four scripts 1.0000, long 1.0000" in done.stderr
    assert set(in_fp8.doc_hashes("v1")) == set(MORE)


def test_describe_names_every_precision_that_runs_put_into_the_live_version(
    in_bfloat16: JobFolder, in_fp8: JobFolder
) -> None:
    before = described(in_bfloat16)
    in_fp8.run("--mixed-precision")
    mixed = described(in_fp8)
    with Ledger(in_fp8.ledger) as ledger:
        ledger.runs.finish(
            ledger.runs.start(f"{in_fp8.collection}_v1").id,
            outcome="done",
            exit_code=0,
            counters=RunCounters(num_tokens=7),
        )
    older = described(in_fp8)
    page = in_fp8.folder / "report.html"
    in_fp8.on_collection("report", "-o", str(page))
    in_fp8.run("--rebuild")

    assert before["precisions"] == "bfloat16"
    assert mixed["contract"]["dtype"] == "bfloat16"
    assert mixed["precisions"] == "bfloat16; fp8 of 1 run"
    assert older["precisions"].endswith("; that of 1 other run is not known here")
    assert described(in_fp8)["precisions"] == "fp8"
    assert older["precisions"] in page.read_text()
    # Another folder, and so without the ledger.
    elsewhere = ["describe", in_fp8.collection, "--milvus-uri", in_fp8.uri]
    assert re.search(r"\nprecisions +unknown here\n", in_fp8.call(*elsewhere).stdout)


def described(job: JobFolder) -> dict[str, Any]:
    where = ["--milvus-uri", job.uri, "--json"]
    beside = {"EMBED_INDEX_STATE_DIR": str(job.state)}
    done = job.call("describe", job.collection, *where, environment=beside)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_a_rebuild_in_fp8_is_a_version_of_its_own_and_describe_says_which(
    in_fp8: JobFolder,
) -> None:
    in_fp8.run("--rebuild")

    assert in_fp8.versions() == ["v1", "v2"]
    described = json.loads(
        in_fp8.call("describe", in_fp8.collection, "--json", "--milvus-uri", in_fp8.uri).stdout
    )
    assert described["contract"]["dtype"] == "fp8"
    assert "cosine" not in in_fp8.run().stderr


def test_the_other_way_round_it_is_refused_too(in_bfloat16: JobFolder, in_fp8: JobFolder) -> None:
    in_fp8.run("--rebuild")
    in_bfloat16.write(MORE | {"newer": "And another one."})

    assert "was made in fp8" in in_bfloat16.run(expect=2).stderr


def test_fp8_on_a_host_without_a_card_is_refused_before_anything_starts(
    lite_job: JobFolder,
) -> None:
    lite_job.write(CORPUS)

    done = lite_job.run("--dtype", "fp8", expect=2, environment={"NO_COLOR": "1"})

    assert (
        "the CPU, on which this host would serve it, computes in no fewer than 16 bits"
        in done.stderr
    )
