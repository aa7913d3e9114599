"""Malformed rows of many kinds among good ones: the good are indexed, the bad say why not."""

import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from job_fixtures import JobFolder
from malformed_rows import CARRIED, KINDS, BadRow, GoodRow, write_corpus
from milvus_server import MilvusServer

from embed_index.pipeline.stages.dead_letters import read_dead_letters

pytestmark = pytest.mark.timeout(1800)
CARRY = tuple(part for name in CARRIED for part in ("--carry", name))
NO_LIMIT = ("--max-dead-letters", "100%")


def run(job: JobFolder, *more: str) -> None:
    """Call the command line as cron does, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "embed_index.jobs.main", *job.arguments(*CARRY, *NO_LIMIT, *more)],
        env=job.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def collected(job: JobFolder) -> dict[str, GoodRow]:
    """Return the collection's documents, put together again from their chunks."""
    chunks = defaultdict(list)
    with job.open_store() as store:
        version = f"{job.collection}_v1"
        for chunk in store.reader.iter_chunks(version, with_text=True):
            chunks[chunk.doc_id].append(chunk)
    documents = {}
    for doc_id, its in chunks.items():
        its.sort(key=lambda chunk: chunk.chunk_index)
        assert [chunk.num_chunks for chunk in its] == [len(its)] * len(its)
        documents[doc_id] = GoodRow(
            text="".join(chunk.text or "" for chunk in its),
            carried=tuple(its[0].carried.values()),
            source=its[0].source,
        )
    return documents


def lettered(job: JobFolder) -> list[BadRow]:
    """Return the rows of the newest file of dead letters."""
    newest = max((job.state / "dead-letters").rglob("*.parquet"), key=lambda x: x.stat().st_mtime)
    letters = list(read_dead_letters(newest))
    assert {(letter.stage, letter.chunk_index) for letter in letters} == {("read", None)}
    return [
        BadRow(
            file=letter.source.path,
            row_group=letter.source.row_group,
            row=letter.source.row,
            reason=letter.reason,
            doc_id=letter.doc_id,
        )
        for letter in letters
    ]


@pytest.mark.parametrize(
    ("num_good", "num_bad"),
    [(200, 200), pytest.param(10_000, 10_000, marks=pytest.mark.slow)],
)
def test_every_good_row_is_indexed_and_every_bad_one_is_a_dead_letter_with_its_reason(
    lite_job: JobFolder, num_good: int, num_bad: int
) -> None:
    check_good_and_bad(lite_job, num_good=num_good, num_bad=num_bad)


@pytest.mark.slow
@pytest.mark.milvus_server
def test_malformed_rows_come_to_the_same_on_a_server(
    lite_job: JobFolder, milvus_server: MilvusServer
) -> None:
    job = replace(lite_job, uri=milvus_server.uri)
    check_good_and_bad(job, num_good=1000, num_bad=1000, knows_null=False)


def check_good_and_bad(
    job: JobFolder, *, num_good: int, num_bad: int, knows_null: bool = True
) -> None:
    corpus = job.folder / "corpus"
    expected = write_corpus(corpus, num_good=num_good, num_bad=num_bad, seed=num_bad)
    assert set(expected.num_of_kind) == set(KINDS)
    assert (len(expected.good), len(expected.bad)) == (num_good, num_bad)

    run(job)

    good = expected.good
    if not knows_null:
        good = {doc_id: row.without_null() for doc_id, row in good.items()}
    assert collected(job) == good
    assert Counter(lettered(job)) == Counter(expected.bad)
    (first,) = job.history()
    assert (first["num_new"], first["num_dead_letters"]) == (num_good, num_bad)

    run(job)

    assert Counter(lettered(job)) == Counter(expected.bad)
    assert job.history()[0]["num_unchanged"] == num_good
