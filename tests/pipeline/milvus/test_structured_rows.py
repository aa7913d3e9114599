"""Lists and structs as columns of a collection, on both targets."""

from typing import Any

import pytest
from milvus_fixtures import make_batch, make_contract

from embed_index.pipeline.milvus.arrangement import Arrangement
from embed_index.pipeline.milvus.demands import stored_columns
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.schemas.columns import CarriedColumn, canonical_json
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.ids import carried_hash
from embed_index.schemas.records import about_of

COLUMNS = (CarriedColumn(name="tags", type="list"), CarriedColumn(name="meta", type="json"))

VALUES: tuple[tuple[list[str] | None, Any], ...] = (
    (["ä", 'q"\\\n', "漢" * 20_000], {"x": 1.5, "ü": [1, None, -0.0, 2**62], "b": {"c": True}}),
    ([], [1, 2.5, "three"]),
    (["x"] * 4096, {"long": "y" * 65_000}),
    (["", "a", "a"], {}),
    (None, None),
)
OBJECT = {"stands": "for a list, where JSON must be an object"}
"""On servers before 2.4, on which the column is refused; the rest of it works."""


def as_text(value: Any) -> str | None:
    return None if value is None else canonical_json(value)


@pytest.fixture
def columns(store: MilvusStore) -> tuple[CarriedColumn, ...]:
    return stored_columns(COLUMNS, target=store.versions.ask_target(), partition_key="")


@pytest.fixture
def version(store: MilvusStore, alias: str, columns: tuple[CarriedColumn, ...]) -> str:
    made = store.versions.create(
        alias, contract=make_contract(carried=("tags", "meta")), carried=columns
    )
    for place, carried in enumerate(expected(store, columns)):
        texts = tuple(map(as_text, carried))
        store.upsert(made, make_batch(["x"], doc_id=f"{place}", carried=texts, seed=place))
    return made


def expected(store: MilvusStore, columns: tuple[CarriedColumn, ...]) -> list[tuple[Any, Any]]:
    """What each document carries: an array that cannot be null is empty, JSON always can."""
    takes_lists = store.versions.ask_target().can("json")
    return [
        (
            [] if a is None and not columns[0].nullable else a,
            OBJECT if isinstance(b, list) and not takes_lists else b,
        )
        for a, b in VALUES
    ]


def test_they_come_back_as_they_were_and_hash_as_the_corpus_does(
    store: MilvusStore, version: str, columns: tuple[CarriedColumn, ...]
) -> None:
    rows = {row.doc_id: row for row in store.reader.iter_chunks(version)}

    assert store.versions.find(version).layout.carried == columns
    for place, carried in enumerate(expected(store, columns)):
        row = rows[str(place)]
        assert tuple(row.carried.values()) == carried
        of_corpus = carried_hash(tuple(map(as_text, carried)))
        assert carried_hash(tuple(row.carried.values())) == of_corpus


def test_whole_rows_are_copied_with_them(
    store: MilvusStore, version: str, columns: tuple[CarriedColumn, ...]
) -> None:
    (block,) = store.reader.iter_blocks(version)
    assert sorted(zip(block.fields["tags"], block.fields["meta"], strict=True), key=str) == sorted(
        ((as_text(a), as_text(b)) for a, b in expected(store, columns)), key=str
    )

    assert store.upsert_block(version, block) == len(VALUES)

    (again,) = store.reader.iter_blocks(version)
    assert again.fields == block.fields


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ('array_contains(tags, "a")', ["3"]),
        ('meta["x"] > 1', ["0"]),
        ('json_contains(meta["ü"], 1)', ["0"]),
    ],
)
def test_filters_look_into_them(
    store: MilvusStore, version: str, where: str, found: list[str]
) -> None:
    (vector,) = make_batch(["x"], seed=0).vectors
    hits = store.reader.search(version, vector, where=where, consistency="Strong")

    assert [hit.doc_id for hit in hits] == found
    assert hits[0].carried == dict(zip(("tags", "meta"), VALUES[int(found[0])], strict=True))


@pytest.mark.parametrize(
    ("carried", "message"),
    [
        ((7, None), "'tags' of document 'd' is int; the collection needs list"),
        (("[]", 1.5), "'meta' of document 'd' is float; the collection needs json"),
        (("[]", "x" * 65_536), "meta has 65536 bytes; Milvus holds 65535"),
    ],
)
def test_what_is_none_is_not_sent(
    store: MilvusStore, version: str, carried: tuple[Any, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        store.upsert(version, make_batch(["x"], doc_id="d", carried=carried))


def test_they_get_no_index_for_filters(
    store: MilvusStore, columns: tuple[CarriedColumn, ...]
) -> None:
    for name in ("tags", "meta"):
        with pytest.raises(ConfigurationError, match=f"scalar_indexes: '{name}' has parts"):
            store.versions.indexes.check(Arrangement(scalars=(name,)), carried=columns)


def test_a_prefix_says_of_stored_rows_what_it_says_of_the_corpus() -> None:
    for carried in VALUES:
        assert about_of(carried) == about_of(map(as_text, carried))
