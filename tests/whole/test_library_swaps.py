"""A collection that stays open while its name moves to another prompt and dimension and back."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from job_fixtures import JobFolder
from library_fixtures import opened
from milvus_server import MilvusServer

from embed_index import ConfigurationError
from embed_index.pipeline.milvus.versions import LiveVersion

NUM_THREADS = 3
TEXTS = {f"d{n}": f"text number {n} of the corpus" for n in range(40)}
SECONDS = 120.0


@pytest.mark.parametrize("num_swaps", [8, pytest.param(40, marks=pytest.mark.slow)])
def test_no_search_fails_comes_back_empty_or_mixes_two_contracts(
    job: JobFolder, num_swaps: int, record_property: Callable[[str, object], None]
) -> None:
    """Documents and queries of a version have the same prompt, so that a text finds itself with a
    score of 1 if its query was made by the contract of the version that it was searched in."""
    job.write(TEXTS)
    job.run("--query-instruction", "")
    task = ("--query-instruction", "Find it", "--document-instruction", "Find it")
    job.run("--rebuild", "--dimension", "128", *task)
    versions = [f"{job.collection}_v1", f"{job.collection}_v2"]
    errors: list[Exception] = []
    seen: Counter[str] = Counter()
    wrong: list[list[tuple[str, str, float]]] = []
    counts = [0] * NUM_THREADS
    changed = threading.Condition()
    over = threading.Event()

    with opened(job) as collection:

        def search(place: int) -> None:
            while not over.is_set():
                doc_id = f"d{(counts[place] * NUM_THREADS + place) % len(TEXTS)}"
                try:
                    found = [
                        (hit.version, hit.doc_id, round(hit.score, 4))
                        for hit in collection.search(TEXTS[doc_id], limit=1)
                    ]
                except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                    errors.append(error)
                else:
                    seen.update(version for version, *_ in found)
                    if [hit[1:] for hit in found] != [(doc_id, 1.0)]:
                        wrong.append(found)
                with changed:
                    counts[place] += 1
                    changed.notify_all()

        def wait_for_a_search_each() -> None:
            with changed:
                goals = [count + 2 for count in counts]
                assert changed.wait_for(
                    lambda: all(c >= g for c, g in zip(counts, goals, strict=True)), SECONDS
                )

        threads = [threading.Thread(target=search, args=(n,)) for n in range(NUM_THREADS)]
        for thread in threads:
            thread.start()
        try:
            for swap in range(num_swaps):
                wait_for_a_search_each()
                # Milvus Lite is open in one process, and one store of it, only.
                collection._store.versions.set_live(job.collection, version=versions[swap % 2])
            wait_for_a_search_each()
        finally:
            over.set()
            for thread in threads:
                thread.join()

    record_property("num_searches", sum(counts))
    assert errors == []
    assert wrong == []
    assert set(seen) == set(versions)


def test_a_version_that_is_dropped_or_made_again_is_not_searched_by_its_old_contract(
    lite_job: JobFolder,
) -> None:
    lite_job.write(TEXTS)
    lite_job.run("--query-instruction", "")
    task = ("--query-instruction", "Find it", "--document-instruction", "Find it")
    lite_job.run("--rebuild", "--dimension", "128", *task)
    with opened(lite_job) as collection:
        versions = collection._store.versions
        first, second = f"{lite_job.collection}_v1", f"{lite_job.collection}_v2"
        assert collection.search(TEXTS["d3"])[0].version == second
        second_contract = collection.contract

        versions.set_live(lite_job.collection, version=first)
        versions.drop(second)
        assert collection.search(TEXTS["d3"])[0].version == first

        again = second_contract.model_copy(update={"collection_id": "made again", "dimension": 96})
        assert versions.create(lite_job.collection, contract=again) == second
        versions.set_live(lite_job.collection, version=second)
        assert len(collection.search(TEXTS["d3"])) == 0
        assert (collection.version, collection.contract.dimension) == (second, 96)

        versions.set_live(lite_job.collection, version=first)
        collection._store._connection.call(
            lambda client: client.drop_alias(lite_job.collection), doing="dropping the alias"
        )
        with pytest.raises(ConfigurationError, match="there is no collection"):
            collection.search(TEXTS["d3"])


@pytest.mark.milvus_server
def test_searches_in_a_row_share_what_the_name_stood_for_and_see_a_swap_soon(
    lite_job: JobFolder, milvus_server: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(lite_job, uri=milvus_server.uri)
    job.write(TEXTS)
    job.run()
    job.run("--rebuild")
    with opened(job) as collection:
        versions = collection._store.versions
        find, asked = versions.find, list[str]()

        def counted(name: str) -> LiveVersion:
            asked.append(name)
            return find(name)

        monkeypatch.setattr(versions, "find", counted)
        vectors = collection.embed(["text number 3"])
        asked.clear()
        began = time.monotonic()
        for _ in range(100):
            collection.search_vectors(vectors, limit=1)
        seconds = time.monotonic() - began

        versions.set_live(job.collection, version=f"{job.collection}_v1")
        time.sleep(0.025)
        after = collection.search_vectors(vectors, limit=1)

    assert len(asked) < min(100, 2 + seconds / 0.02)
    assert after[0][0].version == f"{job.collection}_v1"
