"""Dead letters again: what can be embedded now is, and what cannot gains an attempt."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder, hashes_of
from milvus_fixtures import slow_on_server

from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.pipeline.stages.dead_letters import read_dead_letters

GOOD = {f"d{n}": f"Text number {n} speaks of pumps. " * (4 * n + 1) for n in range(4)}
LONG = " ".join(f"Sentence {k} speaks of valves." for k in range(40)) + " A zyzzyva comes last."


def retry(job: JobFolder, *more: str, expect: int = 0) -> dict[str, Any]:
    _, *flags = job.arguments(*more)
    at = flags.index("--collection")
    del flags[at : at + 2]
    done = job.call("retry", job.collection, "--json", *flags, expect=expect)
    retried: dict[str, Any] = json.loads(done.stdout)
    return retried


def attempts(job: JobFolder) -> dict[str | None, int]:
    with Ledger(job.ledger) as ledger:
        letters = [known.letter for known in ledger.dead_letters.open(f"{job.collection}_v1")]
        return {letter.doc_id: letter.attempts for letter in letters}


@pytest.fixture
def has_poison(tokenizer: ModelTokenizer) -> Callable[[list[int]], bool]:
    poison = tokenizer.encode_for_model(" zyzzyva").tolist()[:-1]
    return lambda ids: any(ids[k : k + len(poison)] == poison for k in range(len(ids)))


@pytest.fixture
def picky(
    job: JobFolder, has_poison: Callable[[list[int]], bool]
) -> Iterator[tuple[JobFolder, HashEmbeddingServer]]:
    """A job over documents, one of which the server refuses in one chunk."""
    with HashEmbeddingServer() as server:
        server.refuse(has_poison)
        picky = replace(job, server=server)
        picky.write({**GOOD, "bad": LONG})
        picky.run("--max-dead-letters", "1")
        yield picky, server


@slow_on_server
def test_only_the_refused_chunk_is_embedded_once_the_server_takes_it(
    picky: tuple[JobFolder, HashEmbeddingServer],
) -> None:
    job, server = picky
    server.refuse(lambda _: False)

    retried = retry(job)

    assert (retried["num_before"], retried["num_remaining"]) == (1, 0)
    assert retried["num_chunks_embedded"] == 1
    assert job.doc_hashes("v1") == hashes_of({**GOOD, "bad": LONG})
    assert job.history()[0]["outcome"] == "mended"
    job.run()
    assert job.history()[0]["num_unchanged"] == len(GOOD) + 1


@slow_on_server
def test_a_letter_that_is_refused_again_gains_an_attempt(
    picky: tuple[JobFolder, HashEmbeddingServer],
) -> None:
    job, _ = picky

    first = retry(job, "--max-dead-letters", "1")
    second = retry(job, expect=3)

    assert (first["num_remaining"], second["num_remaining"]) == (1, 1)
    assert first["remaining"][0]["attempts"] == 2
    assert attempts(job) == {"bad": 3}


def test_rows_that_were_mended_are_indexed_and_others_left_alone(job: JobFolder) -> None:
    job.write({**GOOD, "null": None, "blank": " "})
    job.run("--max-dead-letters", "2")
    changed = {**GOOD, "d0": "Changed, which is the next run's business."}
    job.write({**changed, "null": "Now there is a text.", "blank": " "})

    retried = retry(job, "--max-dead-letters", "1")

    assert (retried["num_before"], retried["num_remaining"]) == (2, 1)
    assert retried["num_chunks_embedded"] == 1
    assert attempts(job) == {"blank": 2}
    assert job.doc_hashes("v1") == hashes_of({**GOOD, "null": "Now there is a text."})


def test_the_file_of_each_run_tells_the_attempts_so_far(lite_job: JobFolder) -> None:
    lite_job.write({**GOOD, "null": None})
    lite_job.run("--max-dead-letters", "1")
    retry(lite_job, "--max-dead-letters", "1")
    lite_job.write({**GOOD, "null": None, "blank": " "})
    lite_job.run("--max-dead-letters", "2")

    files = sorted((lite_job.state / "dead-letters").rglob("*.parquet"))
    told = [{x.doc_id: x.attempts for x in read_dead_letters(file)} for file in files]

    assert told == [{"null": 1}, {"null": 2}, {"null": 3, "blank": 1}]


def test_a_repeated_id_stays_a_dead_letter_for_as_long_as_it_is_repeated(
    lite_job: JobFolder,
) -> None:
    lite_job.write({"same": "The first one."})
    lite_job.write({"same": "The second one."}, file="b.parquet")
    lite_job.run("--max-dead-letters", "1")

    again = retry(lite_job, "--max-dead-letters", "1")
    kept = lite_job.doc_hashes("v1")
    lite_job.write({"first": "The first one."})
    resolved = retry(lite_job)

    assert again["remaining"][0]["reason"] == "duplicate_id"
    assert again["remaining"][0]["attempts"] == 2
    assert kept == hashes_of({"same": "The first one."})
    assert resolved["num_remaining"] == 0
    assert lite_job.doc_hashes("v1") == hashes_of({"same": "The second one."})


def test_without_dead_letters_nothing_is_started(lite_job: JobFolder) -> None:
    lite_job.write(GOOD)
    lite_job.run()
    runs = lite_job.history()
    with HashEmbeddingServer() as gone:
        away = replace(lite_job, server=gone)

    assert retry(away)["num_before"] == 0
    assert lite_job.history() == runs


def test_what_remains_is_named(lite_job: JobFolder) -> None:
    lite_job.write({**GOOD, "null": None})
    lite_job.run("--max-dead-letters", "1")
    _, *flags = lite_job.arguments()
    at = flags.index("--collection")

    done = lite_job.call("retry", lite_job.collection, *flags[:at], *flags[at + 2 :], expect=3)

    assert "1 dead letter retried, 0 chunks embedded, 1 remain" in done.stdout
    assert "a.parquet#0:4 (document null): read, null_text, attempt 2" in done.stdout
    assert (
        f"error: {lite_job.collection}: dead letters that remain: 1, more than the 0 allowed"
        in done.stderr
    )


def test_a_collection_without_a_ledger_is_refused(lite_job: JobFolder) -> None:
    lite_job.write(GOOD)
    _, *flags = lite_job.arguments()
    at = flags.index("--collection")

    done = lite_job.call("retry", "nobody", *flags[:at], *flags[at + 2 :], expect=2)

    assert "no run of 'nobody' has left a ledger" in done.stderr
