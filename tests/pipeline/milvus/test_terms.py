"""Text search as Milvus does it: which targets and analyzers can, and what is found by words."""

import logging
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import pytest
from milvus_fixtures import make_batch, make_contract
from pymilvus import MilvusClient

from embed_index.pipeline.milvus import terms
from embed_index.pipeline.milvus.store import MilvusStore, open_store
from embed_index.pipeline.milvus.terms import (
    analyzer_params,
    check_embedded_analyzer,
)
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ConfigurationError, QueryError

TEXTS = ["Error E-4012 at the pump.", "The pump stopped.", "Descale the machine.", "…"]


def with_words(analyzer: str = "standard") -> CollectionContract:
    return make_contract().model_copy(update={"text_analyzer": analyzer})


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with open_store(str(tmp_path_factory.mktemp("terms") / "store.db")) as store:
        yield store


@pytest.fixture(scope="module")
def version(lite: MilvusStore) -> str:
    version = lite.versions.create("words", contract=with_words())
    lite.upsert(version, make_batch(TEXTS))
    return version


def found(store: MilvusStore, version: str, *texts: str, **more: Any) -> list[list[int]]:
    hits = store.reader.nearest.search_texts(
        version, texts, layout=store.versions.layout(version), limit=10, **more
    )
    return [[hit.chunk_index for hit in of_one] for of_one in hits]


def test_words_are_found_and_the_rarer_one_counts_more(lite: MilvusStore, version: str) -> None:
    hits = lite.reader.nearest.search_texts(
        version, ["E-4012 pump"], layout=lite.versions.layout(version), limit=10
    )[0]

    assert [hit.chunk_index for hit in hits] == [0, 1]
    assert hits[0].score > hits[1].score > 0
    assert hits[0].text == TEXTS[0]


def test_several_texts_find_each_their_own_and_keep_to_the_filter(
    lite: MilvusStore, version: str
) -> None:
    texts = ["machine", "pump", "nothing of it", "?!"]

    assert found(lite, version, *texts) == [[2], [1, 0], [], []]
    assert found(lite, version, *texts, where="chunk_index > 0") == [[2], [1], [], []]
    with pytest.raises(QueryError, match="does not understand the filter"):
        found(lite, version, "pump", where="nope == 1")


def test_the_words_are_neither_read_nor_a_carried_column(lite: MilvusStore, version: str) -> None:
    (row, *_) = lite.reader.iter_chunks(version, with_text=True, with_vectors=True)

    assert row.carried == {}
    assert lite.versions.carried(version) == ()
    with pytest.raises(QueryError, match="has no field 'text_sparse'"):
        found(lite, version, "pump", fields=["text_sparse"])


def test_rows_that_are_written_again_or_deleted_are_found_as_they_are_now(
    lite: MilvusStore, alias: str
) -> None:
    version = lite.versions.create(alias, contract=with_words())
    batch = make_batch(["old words", "other"])
    lite.upsert(version, batch)
    lite.upsert(version, make_batch(["new words", "other"]))
    lite.delete_chunks(version, [batch.chunks[1].chunk_id])

    texts = ["old", "new", "other"]
    assert found(lite, version, *texts, consistency="Strong") == [[], [0], []]


def test_a_collection_that_is_opened_again_or_lost_its_indexes_is_searched_by_words(
    tmp_path: Path, alias: str
) -> None:
    path = str(tmp_path / "store.db")
    with open_store(path) as store:
        version = store.versions.create(alias, contract=with_words())
        store.upsert(version, make_batch(TEXTS))

        def undress(client: MilvusClient) -> None:
            client.release_collection(version)
            client.drop_index(version, "text_sparse")

        store._connection.call(undress, doing="dropping an index")
        store.versions.load(version)
        assert found(store, version, "machine") == [[2]]
    with open_store(path) as store:
        assert store.versions.find(version).layout.text_search
        assert found(store, version, "machine") == [[2]]


def test_a_carried_column_of_that_name_is_one_where_there_is_no_text_search(
    lite: MilvusStore, alias: str
) -> None:
    column = CarriedColumn(name="text_sparse", type="text")
    version = lite.versions.create(alias, contract=make_contract(), carried=[column])

    read = lite.versions.find(version).layout
    assert (read.carried, read.text_search) == ((column,), False)
    with pytest.raises(QueryError, match="cannot be searched by words"):
        found(lite, version, "pump")


def test_a_text_longer_than_milvus_takes_is_refused(lite: MilvusStore, version: str) -> None:
    assert found(lite, version, "pump " * 13_107) == [[1, 0]]
    with pytest.raises(QueryError, match="the query has 65,538 bytes, and Milvus takes 65,535"):
        found(lite, version, "水" * 21_846)


@pytest.mark.parametrize(
    ("analyzer", "message"),
    [
        ("english", "Milvus Lite has no english"),
        ("chinese", "needs the package jieba"),
        ('{"type": "english"}', 'has no {"type": "english"}'),
        ('{"tokenizer": {"type": "icu"}}', "has no"),
        ('{"type": "standard", "stop_words": ["of"]}', "pass over 'stop_words'"),
        ('{"tokenizer": "standard", "filter": ["asciifolding"]}', 'pass over the filter "ascii'),
        (
            '{"tokenizer": "standard", "filter": [{"type": "stemmer", "language": "english"}]}',
            "pass over the filter .*stemmer",
        ),
        (
            '{"tokenizer": "standard", "filter": [{"type": "stop", "stop_words": ["_english_"]}]}',
            "pass over the filter .*_english_",
        ),
        ('{"tokenizer": "standard", "filter": "lowercase"}', "pass over the filter"),
    ],
)
def test_milvus_lite_is_not_trusted_with_what_it_would_leave_out(
    analyzer: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terms, "find_spec", lambda _: None)

    with pytest.raises(ConfigurationError, match=message):
        check_embedded_analyzer(analyzer)


@pytest.mark.parametrize(
    "analyzer",
    [
        "standard",
        '{"tokenizer": "standard", "filter": ["lowercase"]}',
        '{"tokenizer": {"type": "standard"}, "filter": [{"type": "stop", "stop_words": ["the"]}]}',
    ],
)
def test_milvus_lite_makes_a_collection_with_every_analyzer_that_is_let_through(
    lite: MilvusStore, alias: str, analyzer: str
) -> None:
    check_embedded_analyzer(analyzer)
    version = lite.versions.create(alias, contract=with_words(analyzer))
    lite.upsert(version, make_batch(TEXTS))

    common, rare = found(lite, version, "the", "STOPPED")
    assert set(common) == (set() if "stop" in analyzer else {0, 1, 2})
    assert rare == [1]


def test_a_dictionary_is_not_read_from_the_temporary_folder_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jieba = types.ModuleType("jieba")
    jieba.dt = types.SimpleNamespace(tmp_dir=None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jieba", jieba)

    with open_store(str(tmp_path / "store.db")):
        folder = Path(jieba.dt.tmp_dir)

        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.parent == Path(tempfile.gettempdir())
        assert logging.getLogger("jieba").disabled


def test_names_are_spelt_as_the_target_wants_them() -> None:
    assert analyzer_params("chinese", embedded=True) == {"tokenizer": "jieba"}
    assert analyzer_params("chinese", embedded=False) == {"type": "chinese"}
    assert analyzer_params('{"tokenizer": "icu"}', embedded=False) == {"tokenizer": "icu"}
