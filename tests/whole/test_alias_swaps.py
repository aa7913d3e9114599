"""Searches while the alias moves: none fails, none comes back empty."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
from milvus_fixtures import make_batch, make_contract, unit_vectors
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from embed_index.pipeline.milvus.store import MilvusStore

NUM_READERS = 3
NUM_ROWS = 200
MAX_RETRIES = 5
SWAP_SECONDS = 60.0

Search: TypeAlias = Callable[[], int]
"""One search by alias; returns the number of hits."""


@dataclass
class Readers:
    """Threads that search without pause, and what they met."""

    search: Search
    num_searches: int = 0
    num_empty: int = 0
    errors: list[Exception] = field(default_factory=list)
    _counts: list[int] = field(default_factory=lambda: [0] * NUM_READERS)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _over: bool = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._read, args=(n,)) for n in range(NUM_READERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over = True
            for thread in threads:
                thread.join()

    def wait_for_a_search_each(self) -> None:
        """Wait until every reader has begun and ended a search from now on."""
        with self._changed:
            goals = [count + 2 for count in self._counts]
            assert self._changed.wait_for(
                lambda: all(c >= g for c, g in zip(self._counts, goals, strict=True)), SWAP_SECONDS
            )

    def _read(self, place: int) -> None:
        while not self._over:
            try:
                num_hits = self.search()
                error = None
            except Exception as raised:  # noqa: BLE001 - whatever it is, it is counted
                num_hits, error = -1, raised
            with self._changed:
                self.num_searches += 1
                self.num_empty += num_hits == 0
                if error is not None:
                    self.errors.append(error)
                self._counts[place] += 1
                self._changed.notify_all()


def two_versions(store: MilvusStore, alias: str) -> tuple[str, str]:
    """Fill two versions with the same rows; the first is live."""
    batch = make_batch([f"text {n}" for n in range(NUM_ROWS)])
    first = store.versions.create(alias, contract=make_contract())
    second = store.versions.create(alias, contract=make_contract())
    for version in (first, second):
        store.upsert(version, batch)
        store.flush(version)
    store.versions.set_live(alias, version=first)
    return first, second


def swap_under(readers: Readers, store: MilvusStore, alias: str, *, num_swaps: int) -> None:
    versions = two_versions(store, alias)
    with readers.reading():
        for swap in range(num_swaps):
            readers.wait_for_a_search_each()
            store.versions.set_live(alias, version=versions[(swap + 1) % 2])
        readers.wait_for_a_search_each()


def report(record: Callable[[str, object], None], readers: Readers) -> None:
    record("num_searches", readers.num_searches)
    record("num_empty", readers.num_empty)
    record("num_errors", len(readers.errors))


@pytest.mark.parametrize("num_swaps", [8, pytest.param(40, marks=pytest.mark.slow)])
def test_our_reader_never_fails_and_never_finds_nothing(
    store: MilvusStore,
    alias: str,
    num_swaps: int,
    record_property: Callable[[str, object], None],
) -> None:
    vector = unit_vectors(1, seed=5)[0]
    readers = Readers(lambda: len(store.reader.search(alias, vector, limit=5)))

    swap_under(readers, store, alias, num_swaps=num_swaps)

    report(record_property, readers)
    assert readers.errors == []
    assert readers.num_empty == 0
    assert readers.num_searches >= NUM_READERS * num_swaps


@pytest.mark.parametrize("num_swaps", [8, pytest.param(40, marks=pytest.mark.slow)])
def test_a_plain_client_on_a_server_needs_no_more_than_a_retry(
    store: MilvusStore,
    milvus_uri: str,
    alias: str,
    num_swaps: int,
    record_property: Callable[[str, object], None],
) -> None:
    if not milvus_uri.startswith("http"):
        pytest.skip("Milvus Lite is reached through our own process only")
    query: list[Any] = [unit_vectors(1, seed=5)[0]]
    client = MilvusClient(milvus_uri, dedicated=True)
    absorbed: list[Exception] = []

    def search() -> int:
        for attempt in range(MAX_RETRIES + 1):
            try:
                (hits,) = client.search(alias, data=query, limit=5, timeout=20.0)
                return len(hits)
            except MilvusException as error:
                if attempt == MAX_RETRIES:
                    raise
                absorbed.append(error)
        raise AssertionError

    readers = Readers(search)
    try:
        swap_under(readers, store, alias, num_swaps=num_swaps)
    finally:
        client.close()

    report(record_property, readers)
    record_property("num_absorbed", len(absorbed))
    assert readers.errors == []
    assert readers.num_empty == 0
