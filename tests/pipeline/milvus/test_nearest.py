"""Searching many vectors at once, by filters that other people wrote."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from milvus_fixtures import make_batch, make_contract, unit_vectors
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from embed_index.pipeline.milvus.retry import OutagePolicy
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.errors import ConfigurationError, QueryError, StoreError

CARRIED = (
    CarriedColumn(name="title", type="text"),
    CarriedColumn(name="category", type="text"),
    CarriedColumn(name="price", type="number"),
    CarriedColumn(name="rating", type="integer"),
    CarriedColumn(name="in_stock", type="boolean"),
)
ROWS = [
    (title, category, price, rating, in_stock)
    for title, category in [("The Catcher in the Rye", "Books"), ("Flipped", "Electronics")]
    for price in (20.0, 60.0, 150.0)
    for rating, in_stock in [(2, True), (5, False)]
]
EXAMPLES = (
    "price > 50",
    "rating >= 3",
    "price > 100 and rating >= 3",
    "price > 50 && rating < 3 || in_stock == true",
    "10 <= price <= 25",
    "category == 'Electronics'",
    'category in ["Electronics", "reference"]',
    "category not in ['Books']",
    'title like "Flip_ed"',
    'title like "The%"',
    'title like "%Rye"',
    'title like "%the%"',
    "in_stock == true",
    "not (in_stock == true)",
    "rating in [2, 101, 102]",
    'title like "The%" and rating in [5]',
    'title == "t2" or price == 600',
    # Of columns or functions that are not there.
    "random > 0.5",
    "info['作者'] == 'J.D.塞林格' or info['Título'] == 'Cien años de soledad'",
    "element_filter(struct_field, $[struct_int] > 50)",
    "tsz != ISO '2025-01-03T00:00:00+08:00'",
    'pk in ["1" , "2"] || g == 1',
    # Not written to the end.
    ")",
    '"',
)
"""Of pymilvus' own examples, with the names of their columns where these are here."""


@pytest.fixture
def raw_client(store: MilvusStore) -> Iterator[MilvusClient]:
    with store._connection._borrow() as shared:
        yield shared.client


@pytest.fixture(scope="module")
def version(store: MilvusStore) -> str:
    name = f"near_{make_contract().collection_id[:8]}"
    contract = make_contract(carried=tuple(column.name for column in CARRIED))
    created = store.versions.create(name, contract=contract, carried=CARRIED)
    for place, row in enumerate(ROWS):
        store.upsert(created, make_batch(["x"], doc_id=f"d{place}", carried=row, seed=place))
    store.versions.set_live(name, version=created)
    return created


def found_by(store: MilvusStore, version: str, where: str) -> list[str] | None:
    try:
        (hits,) = store.reader.nearest.search(
            version,
            unit_vectors(1),
            layout=store.versions.layout(version),
            limit=len(ROWS),
            where=where,
            consistency="Strong",
        )
    except QueryError:
        return None
    return sorted(hit.doc_id for hit in hits)


def found_by_pymilvus(client: MilvusClient, version: str, where: str) -> list[str] | None:
    query: list[Any] = [unit_vectors(1)[0]]
    try:
        (hits,) = client.search(
            version,
            data=query,
            anns_field="embedding",
            limit=len(ROWS),
            filter=where,
            output_fields=["doc_id"],
            consistency_level="Strong",
        )
    except MilvusException:
        return None
    return sorted(hit["entity"]["doc_id"] for hit in hits)


def test_filters_of_others_find_what_pymilvus_finds_and_are_refused_where_it_fails(
    store: MilvusStore, version: str, raw_client: MilvusClient
) -> None:
    ours = {where: found_by(store, version, where) for where in EXAMPLES}
    alone = {where: found_by_pymilvus(raw_client, version, where) for where in EXAMPLES}

    assert ours == alone
    assert sum(found is None for found in ours.values()) >= 7
    assert sum(bool(found) for found in ours.values()) >= 13


def test_each_vector_finds_its_own(store: MilvusStore, version: str) -> None:
    vectors = np.concatenate([unit_vectors(1, seed=place) for place in range(len(ROWS))])

    found = store.reader.nearest.search(
        version,
        vectors,
        layout=store.versions.layout(version),
        limit=1,
        fields=["price"],
        consistency="Strong",
    )

    assert [hits[0].doc_id for hits in found] == [f"d{place}" for place in range(len(ROWS))]
    assert [hits[0].carried for hits in found] == [{"price": row[2]} for row in ROWS]


def test_an_outage_during_a_filtered_search_is_not_blamed_on_the_filter(
    store: MilvusStore, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*args: Any, **kwargs: Any) -> None:
        raise MilvusException(code=65_535, message="no node is left")

    brief = OutagePolicy(retry_seconds=0.2, doubt_seconds=0.2)
    monkeypatch.setattr(store.reader.nearest, "_retry", brief)
    monkeypatch.setattr(MilvusClient, "search", refuses)

    with pytest.raises(StoreError, match="no node is left"):
        found_by(store, version, "price > 50")


def test_a_collection_of_others_is_not_taken_for_ours(
    store: MilvusStore, alias: str, raw_client: MilvusClient
) -> None:
    """As pymilvus' own `hello_milvus.py` makes one, and its quick set-up."""
    schema = raw_client.create_schema(auto_id=False, description="hello_milvus is the simplest")
    schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=100)
    schema.add_field("random", DataType.DOUBLE)
    schema.add_field("embeddings", DataType.FLOAT_VECTOR, dim=8)
    raw_client.create_collection(f"{alias}_hello", schema=schema, timeout=20)
    raw_client.create_collection(f"{alias}_quick", dimension=8, timeout=60)
    raw_client.create_alias(f"{alias}_quick", alias, timeout=20)

    for name in (f"{alias}_hello", f"{alias}_quick", alias):
        with pytest.raises(ConfigurationError, match=f"'{name}' was not made by embed-index"):
            store.versions.find(name)


def test_a_contract_of_a_newer_format_is_refused(store: MilvusStore, alias: str) -> None:
    newer = make_contract().model_copy(update={"format_version": 99})
    version = store.versions.create(alias, contract=newer)

    with pytest.raises(ConfigurationError, match="has format 99") as raised:
        store.versions.find(version)

    assert raised.value.remedy == "Upgrade embed-index."
