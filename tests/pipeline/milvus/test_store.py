"""One contract for the store, kept by Milvus Lite and by a real Milvus server alike."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from milvus_fixtures import DIMENSION, make_batch, make_contract, unit_vectors
from milvus_server import MilvusServer
from pymilvus import DataType, MilvusClient
from pymilvus.client.grpc_handler import GrpcHandler
from secured_milvus import SecuredMilvus

from embed_index.pipeline.milvus.retry import OutagePolicy
from embed_index.pipeline.milvus.schema import build_schema, read_layout
from embed_index.pipeline.milvus.store import MilvusStore, open_store
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.errors import ConfigurationError, QueryError, StoreError
from embed_index.schemas.ids import chunk_id
from embed_index.schemas.records import EmbeddedBatch

CARRIED = (
    CarriedColumn(name="product", type="text"),
    CarriedColumn(name="severity", type="integer"),
    CarriedColumn(name="price", type="number"),
    CarriedColumn(name="open", type="boolean"),
)
VALUES = ("lamp «é»", -(2**62), 0.1, True)
IMPATIENT = OutagePolicy(retry_seconds=0.5, doubt_seconds=0.5)


@pytest.fixture(
    scope="module",
    params=[
        "lite",
        pytest.param("server", marks=pytest.mark.milvus_server),
        pytest.param("secured", marks=pytest.mark.milvus_server),
    ],
)
def access(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What `open_store` takes: Milvus Lite, a server, and one where we have the loader's role."""
    if request.param == "lite":
        return {"uri": str(tmp_path_factory.mktemp("lite") / "store.db")}
    if request.param == "server":
        server: MilvusServer = request.getfixturevalue("milvus_server")
        return {"uri": server.uri}
    secured: SecuredMilvus = request.getfixturevalue("secured_milvus")
    return secured.access(secured.loader)


@pytest.fixture(scope="module")
def store(access: dict[str, Any]) -> Iterator[MilvusStore]:
    with open_store(**access, connect_seconds=60.0) as opened:
        yield opened


def elsewhere(access: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return access for another connection, which Milvus Lite allows to another folder only."""
    return access if "://" in access["uri"] else {"uri": str(path)}


@pytest.fixture(scope="module")
def version(store: MilvusStore) -> str:
    """Create a collection that the module's tests share, each with documents of its own."""
    name = f"shared_{make_contract().collection_id[:8]}"
    contract = make_contract(carried=tuple(column.name for column in CARRIED))
    created = store.versions.create(name, contract=contract, carried=CARRIED)
    store.versions.set_live(name, version=created)
    return created


def batch_of(doc_id: str, *, texts: list[str] | None = None, seed: int = 0) -> EmbeddedBatch:
    return make_batch(texts or ["one ", "two "], doc_id=doc_id, carried=VALUES, seed=seed)


def test_a_stored_chunk_comes_back_as_it_went_in(store: MilvusStore, version: str) -> None:
    batch = batch_of("round trip")
    assert store.upsert(version, batch) == 2
    ids = [chunk.chunk_id for chunk in batch.chunks]
    found = store.reader.fetch_chunks(version, [*ids, "absent"], with_text=True, with_vectors=True)
    assert list(found) == ids
    second = found[ids[1]]
    assert second.vector is not None
    assert second.vector.dtype == np.float32
    np.testing.assert_array_equal(second.vector, batch.vectors[1])
    assert dataclasses.asdict(dataclasses.replace(second, vector=None)) == {
        "chunk_id": ids[1],
        "doc_id": "round trip",
        "chunk_index": 1,
        "num_chunks": 2,
        "char_start": 4,
        "char_end": 8,
        "num_tokens": 3,
        "doc_hash": batch.chunks[1].document.doc_hash,
        "text_complete": True,
        "source": "corpus/part-0.parquet#0:7",
        "carried": dict(zip(("product", "severity", "price", "open"), VALUES, strict=True)),
        "text": "two ",
        "vector": None,
    }


def test_text_and_vector_are_left_out_unless_asked_for(store: MilvusStore, version: str) -> None:
    batch = batch_of("lean")
    store.upsert(version, batch)
    key = batch.chunks[0].chunk_id
    chunk = store.reader.fetch_chunks(version, [key])[key]
    assert (chunk.text, chunk.vector) == (None, None)
    assert chunk.key.doc_id == "lean"


def test_upserting_again_replaces_the_row(store: MilvusStore, version: str) -> None:
    store.upsert(version, batch_of("again", seed=1))
    before = store.reader.count(version)
    replacement = batch_of("again", seed=2)
    store.upsert(version, replacement)
    key = replacement.chunks[0].chunk_id
    assert store.reader.count(version) == before
    np.testing.assert_array_equal(
        store.reader.fetch_vectors(version, [key])[key], replacement.vectors[0]
    )


def test_deleted_chunks_are_gone_and_absent_ones_passed_over(
    store: MilvusStore, version: str
) -> None:
    batch = batch_of("short-lived")
    store.upsert(version, batch)
    before = store.reader.count(version)
    ids = [chunk.chunk_id for chunk in batch.chunks]
    store.delete_chunks(version, [*ids, "absent", 'it\'s "quoted" \\ ü'])
    assert store.reader.count(version) == before - 2
    assert store.reader.fetch_vectors(version, ids) == {}


def test_text_beyond_the_limit_is_cut_at_a_character(store: MilvusStore, version: str) -> None:
    # 65,535 bytes hold 21,845 characters of three bytes; the fourth kind does not fit evenly.
    batch = batch_of("long", texts=["漢" * 21_845, "x" + "漢" * 21_845, "😀" * 16_384])
    store.upsert(version, batch)
    found = store.reader.fetch_chunks(
        version, [chunk.chunk_id for chunk in batch.chunks], with_text=True
    )
    assert [(chunk.text, chunk.text_complete) for chunk in found.values()] == [
        ("漢" * 21_845, True),
        ("x" + "漢" * 21_844, False),
        ("😀" * 16_383, False),
    ]


def test_a_long_source_keeps_its_end(store: MilvusStore, version: str) -> None:
    batch = make_batch(["x"], doc_id="deep", carried=VALUES, path="ü" * 600 + "/part.parquet")
    store.upsert(version, batch)
    (chunk,) = store.reader.fetch_chunks(version, [batch.chunks[0].chunk_id]).values()
    assert chunk.source.endswith("ü/part.parquet#0:7")
    assert len(chunk.source.encode()) in (1023, 1024)


def test_search_finds_the_nearest_chunk_by_alias_and_by_version(
    store: MilvusStore, version: str
) -> None:
    batch = batch_of("needle", seed=77)
    store.upsert(version, batch)
    for name in (version, version.removesuffix("_v1")):
        hit, *_ = store.reader.search(name, batch.vectors[1], limit=3, consistency="Strong")
        assert hit.score == pytest.approx(1.0, abs=1e-4)
        assert (hit.chunk.chunk_id, hit.chunk.text) == (batch.chunks[1].chunk_id, "two ")
        assert hit.chunk.carried["product"] == "lamp «é»"


def test_search_keeps_to_the_filter(store: MilvusStore, version: str) -> None:
    store.upsert(version, batch_of("filtered"))
    hits = store.reader.search(
        version, unit_vectors(1)[0], where='doc_id == "filtered"', consistency="Strong"
    )
    assert {hit.chunk.doc_id for hit in hits} == {"filtered"}


def test_a_wrong_filter_is_an_error_that_quotes_it(store: MilvusStore, version: str) -> None:
    with pytest.raises(QueryError, match="nonsense"):
        store.reader.search(version, unit_vectors(1)[0], where='nonsense == "x"')


def test_what_is_said_of_a_wrong_filter_is_not_cut(
    store: MilvusStore, version: str, access: dict[str, Any]
) -> None:
    if "://" in access["uri"]:
        pytest.skip("a server does not say what may have been meant")
    with pytest.raises(QueryError) as caught:
        store.reader.search(version, unit_vectors(1)[0], where='text_completed == "x"')

    assert caught.value.message.endswith("did you mean 'text_complete'?")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda vectors: vectors[:, :-1], "shape"),
        (lambda vectors: vectors[:1], "shape"),
        (lambda vectors: vectors.astype(np.float64), "float64"),
        (lambda vectors: np.where(np.arange(DIMENSION) == 3, np.nan, vectors), "length nan"),
        (lambda vectors: np.where(np.arange(DIMENSION) == 3, np.inf, vectors), "length inf"),
        (lambda vectors: vectors * np.float32(1.01), "length 1.0"),
        (np.zeros_like, "length 0.0"),
    ],
)
def test_bad_vectors_are_refused_before_anything_is_sent(
    store: MilvusStore,
    version: str,
    spoil: Callable[[np.ndarray], np.ndarray],
    message: str,
) -> None:
    batch = batch_of("spoiled")
    before = store.reader.count(version)
    with pytest.raises(ValueError, match=message):
        store.upsert(version, dataclasses.replace(batch, vectors=spoil(batch.vectors)))
    assert store.reader.count(version) == before


def test_one_key_twice_in_a_batch_is_refused(store: MilvusStore, version: str) -> None:
    batch = batch_of("twice")
    doubled = dataclasses.replace(batch, chunks=(batch.chunks[0], batch.chunks[0]))
    with pytest.raises(ValueError, match="twice in one batch"):
        store.upsert(version, doubled)


@pytest.mark.parametrize(
    ("doc_id", "carried", "message"),
    [
        ("ü" * 257, VALUES, "doc_id has 514 bytes"),
        ("d", VALUES[:-1], "carries 3 values"),
        ("d", ("lamp", True, 0.1, True), "'severity' of document 'd' is bool"),
        ("d", ("lamp", 1, 0.1, 1), "'open' of document 'd' is int"),
        ("d", ("漢" * 2731, 1, 0.1, True), "product has 8193 bytes"),
    ],
)
def test_values_that_do_not_fit_are_refused(
    store: MilvusStore, version: str, doc_id: str, carried: tuple[object, ...], message: str
) -> None:
    batch = make_batch(["x"], doc_id=doc_id, carried=carried)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        store.upsert(version, batch)


def test_an_empty_batch_is_nothing(store: MilvusStore, version: str) -> None:
    empty = EmbeddedBatch(chunks=(), vectors=np.empty((0, DIMENSION), np.float32))
    assert store.upsert(version, empty) == 0
    assert store.reader.fetch_chunks(version, []) == {}


def test_all_keys_of_many_rows_are_read_once(store: MilvusStore, alias: str) -> None:
    version = store.versions.create(alias, contract=make_contract())
    batch = make_batch([f"{number} " for number in range(5_000)])
    assert store.upsert(version, batch) == 5_000
    deleted = {chunk.chunk_id for chunk in batch.chunks[:100]}
    store.delete_chunks(version, deleted)
    keys = list(store.reader.iter_keys(version))
    assert len(keys) == store.reader.count(version) == 4_900
    assert {key.chunk_id for key in keys} == {chunk.chunk_id for chunk in batch.chunks[100:]}
    assert {(key.doc_id, key.num_chunks) for key in keys} == {("doc", 5_000)}
    rows = {
        row.chunk_id: row
        for row in store.reader.iter_chunks(version, with_text=True, with_vectors=True)
    }
    assert len(rows) == 4_900
    for index in (100, 2_777, 4_999):
        row = rows[chunk_id("doc", index)]
        assert row.text == f"{index} "
        np.testing.assert_array_equal(row.vector, batch.vectors[index])


@pytest.mark.parametrize("wanted", [1, 500, 3000, 10_000])
def test_a_sample_is_even_stable_and_about_as_large_as_asked_for(
    store: MilvusStore, alias: str, wanted: int
) -> None:
    version = store.versions.create(alias, contract=make_contract())
    store.upsert(version, make_batch([f"{number} " for number in range(4000)]))

    first, second = (list(store.reader.iter_sample(version, wanted)) for _ in range(2))

    keys = [row.chunk_id for row in first]
    assert sorted(keys) == sorted(row.chunk_id for row in second)
    assert len(set(keys)) == len(keys)
    assert abs(len(keys) - min(wanted, 4000)) <= 4 * wanted**0.5
    if wanted >= 500:
        half = sum(row.chunk_index < 2000 for row in first) / len(first)
        assert 0.4 < half < 0.6


def test_versions_count_up_and_the_alias_names_one(store: MilvusStore, alias: str) -> None:
    assert (store.versions.list(alias), store.versions.live(alias)) == ([], None)
    first = store.versions.create(alias, contract=make_contract())
    second = store.versions.create(alias, contract=make_contract(dimension=32), carried=CARRIED)
    assert store.versions.list(alias) == [first, second] == [f"{alias}_v1", f"{alias}_v2"]
    assert store.versions.live(alias) is None
    for live in (first, first, second):
        store.versions.set_live(alias, version=live)
        assert store.versions.live(alias) == live
    assert store.versions.carried(first) == ()
    assert store.versions.carried(second) == CARRIED
    assert store.versions.layout(second).dimension == 32

    with pytest.raises(ConfigurationError, match="live behind the alias"):
        store.versions.drop(second)
    with pytest.raises(ConfigurationError, match="not a version"):
        store.versions.drop(alias)
    store.versions.drop(first)
    store.versions.drop(first)
    assert store.versions.list(alias) == [second]


def test_an_alias_that_is_named_like_a_version_is_not_dropped(
    store: MilvusStore, alias: str, raw_client: MilvusClient
) -> None:
    version = store.versions.create(alias, contract=make_contract())
    raw_client.create_alias(version, f"{alias}_v9", timeout=10)
    with pytest.raises(ConfigurationError, match="is live"):
        store.versions.drop(f"{alias}_v9")
    with pytest.raises(ConfigurationError, match="is live"):
        store.versions.drop(version)
    assert store.versions.exists(version)


def test_an_alias_takes_no_version_of_another(store: MilvusStore, version: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a version of 'other'"):
        store.versions.set_live("other", version=version)
    with pytest.raises(ConfigurationError, match="is not a version of"):
        store.versions.set_live(version.removesuffix("_v1"), version=version.replace("_v1", "_v99"))


def test_the_contract_comes_back_whole(store: MilvusStore, alias: str) -> None:
    contract = make_contract(carried=("product",))
    version = store.versions.create(alias, contract=contract)
    assert store.versions.contract(version) == contract


def test_a_version_that_was_found_is_known_again_without_its_description_being_read(
    store: MilvusStore, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = store.versions.find(version)

    def read(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(GrpcHandler, "describe_collection", read)

    assert store.versions.find(version) is found
    assert store.versions.find(version.removesuffix("_v1")) is found


def test_a_plain_collection_is_neither_taken_over_nor_read(
    store: MilvusStore, alias: str, raw_client: MilvusClient
) -> None:
    make_plain_collection(raw_client, alias)
    make_plain_collection(raw_client, f"{alias}_v1")
    with pytest.raises(ConfigurationError, match="is a plain collection"):
        store.versions.create(alias, contract=make_contract())
    with pytest.raises(ConfigurationError, match="is a plain collection"):
        store.versions.set_live(alias, version=f"{alias}_v1")
    with pytest.raises(ConfigurationError, match="was not made by embed-index"):
        store.versions.contract(alias)
    with pytest.raises(ConfigurationError, match="was not made by embed-index"):
        store.reader.search(alias, unit_vectors(1)[0])


@pytest.mark.parametrize("name", ["", "1st", "with-dash", "naïve", "x" * 241, "docs_v3", "a b"])
def test_names_that_milvus_cannot_have_are_refused(store: MilvusStore, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a collection's name"):
        store.versions.check_alias(name)


def test_a_missing_collection_is_named(store: MilvusStore, alias: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{alias}_v1'.*no such collection"):
        store.versions.contract(f"{alias}_v1")


def test_a_half_built_version_is_usable_and_finished_before_it_goes_live(
    store: MilvusStore, alias: str, raw_client: MilvusClient
) -> None:
    schema = build_schema(make_contract(), carried=())
    raw_client.create_collection(f"{alias}_v1", schema=schema, timeout=20)
    assert store.upsert(f"{alias}_v1", make_batch(["x"])) == 1
    assert store.reader.count(f"{alias}_v1") == 1
    store.versions.set_live(alias, version=f"{alias}_v1")
    assert set(raw_client.list_indexes(f"{alias}_v1")) == {"doc_id", "embedding"}


def test_threads_write_and_read_at_once(store: MilvusStore, version: str) -> None:
    before = store.reader.count(version)
    threads = [
        threading.Thread(target=store.upsert, args=(version, batch_of(f"thread {number}")))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.reader.count(version) == before + 16


def test_null_is_held_where_the_server_holds_it(store: MilvusStore) -> None:
    nullable = store.versions.ask_target().can("null")
    columns = tuple(dataclasses.replace(column, nullable=nullable) for column in CARRIED)
    contract = make_contract(carried=tuple(column.name for column in CARRIED))
    version = store.versions.create(
        f"nulls_{contract.collection_id[:8]}", contract=contract, carried=columns
    )
    batch = make_batch(["x"], doc_id="d", carried=(None,) * len(CARRIED))
    (key,) = (chunk.chunk_id for chunk in batch.chunks)
    if not nullable:
        with pytest.raises(ValueError, match="is NoneType"):
            store.upsert(version, batch)
        return

    store.upsert(version, batch)

    with_values = make_batch(["y"], doc_id="e", carried=VALUES)
    store.upsert(version, with_values)
    found = store.reader.fetch_chunks(version, [key, with_values.chunks[0].chunk_id])
    assert [tuple(row.carried.values()) for row in found.values()] == [(None,) * 4, VALUES]
    layout = read_layout(
        store.versions._describe(version),
        collection=version,
    )
    assert layout.carried == columns


def test_flush_and_server_version(store: MilvusStore, version: str) -> None:
    store.flush(version)
    assert any(digit in store.server_version() for digit in "0123456789")


def test_rows_outlive_the_connection(access: dict[str, Any], tmp_path: Path, alias: str) -> None:
    access = elsewhere(access, tmp_path / "sub/dir/again.db")
    batch = make_batch(["x", "y"])
    with open_store(**access) as first:
        version = first.versions.create(alias, contract=make_contract())
        first.versions.set_live(alias, version=version)
        first.upsert(version, batch)
    with open_store(**access) as second:
        assert second.versions.live(alias) == version
        assert second.reader.count(version) == 2
        assert second.reader.search(alias, batch.vectors[1], limit=1, consistency="Strong")


def test_a_closed_store_says_so(access: dict[str, Any], tmp_path: Path) -> None:
    store = open_store(**elsewhere(access, tmp_path / "closed.db"))
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.server_version()


@pytest.fixture
def raw_client(store: MilvusStore) -> Iterator[MilvusClient]:
    """Reach the same Milvus past the store, as another program would."""
    with store._connection._borrow() as shared:
        yield shared.client


def make_plain_collection(client: MilvusClient, name: str) -> None:
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=DIMENSION)
    client.create_collection(name, schema=schema, timeout=20)


def test_a_new_version_waits_for_no_index(
    store: MilvusStore, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to index yet, and the SDK's way of waiting is to sleep first."""

    def wait(*_: object, **__: object) -> None:
        raise AssertionError("waited for an index")

    monkeypatch.setattr(GrpcHandler, "wait_for_creating_index", wait)
    version = store.versions.create(alias, contract=make_contract())
    indexes = store._connection.call(lambda client: client.list_indexes(version), doing="listing")

    assert sorted(indexes) == ["doc_id", "embedding"]
