"""How Milvus keeps a version: indexes for filters, on both targets."""

import pytest
from milvus_fixtures import make_batch, make_contract
from pymilvus import MilvusClient

from embed_index.pipeline.milvus.arrangement import DEFAULT_GROUP, Arrangement, Placement
from embed_index.pipeline.milvus.demands import stored_columns
from embed_index.pipeline.milvus.indexes import VectorIndex
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.milvus.version_indexes import drop_index
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.errors import ConfigurationError

COLUMNS = (
    CarriedColumn(name="lang", type="text"),
    CarriedColumn(name="year", type="integer"),
    CarriedColumn(name="score", type="number"),
)
NAMES = tuple(column.name for column in COLUMNS)


@pytest.fixture
def version(store: MilvusStore, alias: str) -> str:
    """A version with an index over one carried column, and three rows."""
    made = store.versions.create(
        alias,
        contract=make_contract(carried=NAMES),
        carried=COLUMNS,
        arrangement=Arrangement(scalars=("lang",)),
    )
    for place, lang in enumerate(("de", "en", "de")):
        carried = (lang, 2020 + place, place / 2)
        store.upsert(made, make_batch([lang], doc_id=f"{place}", carried=carried, seed=place))
    return made


def found(store: MilvusStore, version: str, where: str) -> list[str]:
    (vector,) = make_batch(["x"], seed=0).vectors
    hits = store.reader.search(version, vector, where=where, consistency="Strong")
    return sorted(hit.doc_id for hit in hits)


def test_columns_of_every_type_get_an_index_and_lose_it(store: MilvusStore, version: str) -> None:
    indexes = store.versions.indexes
    before = indexes.read(version)
    wanted = Arrangement(scalars=("year", "score"))
    indexes.check(wanted, carried=COLUMNS)
    told: list[str] = []

    assert tuple(before.scalars) == ("lang",)
    assert indexes.replace(version, wanted, before_change=lambda x: told.append(str(x)))
    assert not indexes.replace(version, wanted)

    after = indexes.read(version)
    assert told == ["year, score indexed for filters, lang no longer"]
    assert set(after.scalars) == {"year", "score"}
    assert after.vectors == before.vectors
    assert found(store, version, 'lang == "de"') == ["0", "2"]
    assert found(store, version, "year >= 2021 and score < 1.0") == ["1"]


def test_an_index_that_others_gave_a_name_of_their_own_is_known_by_its_column(
    store: MilvusStore, version: str
) -> None:
    def rename(client: MilvusClient) -> None:
        client.release_collection(version)
        drop_index(client, version, "lang", embedded=store.is_embedded)
        assert set(client.list_indexes(version)) == {"embedding", "doc_id"}
        wanted = client.prepare_index_params()
        kind = "INVERTED" if store.is_embedded else "Trie"
        wanted.add_index("lang", index_type=kind, index_name="by_lang")
        client.create_index(version, wanted, sync=False)

    store.versions._connection.call(rename, doing="renaming")
    indexes = store.versions.indexes

    # Milvus Lite names indexes by their columns, whatever it is told.
    name = "lang" if store.is_embedded else "by_lang"
    assert dict(indexes.read(version).scalars) == {"lang": name}
    assert not indexes.replace(version, Arrangement(scalars=("lang",)))
    assert indexes.replace(version, Arrangement())
    assert dict(indexes.read(version).scalars) == {}


def test_inner_products_of_unit_vectors_find_the_same_with_the_same_scores(
    store: MilvusStore, version: str
) -> None:
    indexes = store.versions.indexes
    query = make_batch(["x"], seed=5).vectors[0]
    wanted = Arrangement(vectors=VectorIndex(metric="ip"), scalars=("lang",))
    told: list[str] = []

    by_cosine = store.reader.search(version, query, consistency="Strong")
    assert indexes.replace(version, wanted, before_change=lambda x: told.append(str(x)))
    by_product = store.reader.search(version, 3 * query, consistency="Strong")

    assert told == ["the vectors are indexed anew as auto (metric IP)"]
    assert not indexes.replace(version, wanted)
    assert [hit.doc_id for hit in by_product] == [hit.doc_id for hit in by_cosine]
    assert [hit.score for hit in by_product] == pytest.approx([hit.score for hit in by_cosine])
    made = indexes.read(version).vectors
    assert made is not None
    assert made.metric == "IP"
    assert made.as_wanted().metric == "ip"


def test_where_a_version_is_loaded_stands_in_its_properties(
    store: MilvusStore, version: str
) -> None:
    indexes = store.versions.indexes
    wanted = Arrangement(scalars=("lang",), placement=Placement(mmap=True))
    told: list[str] = []

    # Both targets keep the property and do not heed it, so that only the mechanics show.
    assert indexes.replace(version, wanted, before_change=lambda x: told.append(str(x)))
    assert not indexes.replace(version, wanted)

    assert told == ["all is loaded anew (mmap)"]
    assert indexes.read(version).placement == Placement(mmap=True)
    assert str(indexes.read(version)).endswith(", and over lang, mmap")
    assert indexes.replace(version, Arrangement(scalars=("lang",)))
    assert indexes.read(version).placement.is_(Placement())
    assert found(store, version, 'lang == "de"') == ["0", "2"]


def test_what_no_query_node_can_hold_is_refused_by_a_real_server(store: MilvusStore) -> None:
    indexes = store.versions.indexes
    two = Arrangement(placement=Placement(replicas=2))
    nowhere = Arrangement(placement=Placement(resource_groups=("nope",)))
    here = Arrangement(placement=Placement(resource_groups=(DEFAULT_GROUP,)))
    if store.is_embedded:
        for wanted in (two, nowhere, here):
            with pytest.raises(ConfigurationError, match="only a Milvus server"):
                indexes.check(wanted, carried=())
        return

    with pytest.raises(ConfigurationError, match="1 query nodes in '__default_resource_group'"):
        indexes.check(two, carried=())
    with pytest.raises(ConfigurationError, match="has no 'nope'; it has __default_resource_group"):
        indexes.check(nowhere, carried=())
    indexes.check(here, carried=())


def test_rows_are_found_by_their_partition_key_also_when_it_changes(
    store: MilvusStore, alias: str
) -> None:
    target = store.versions.ask_target()
    if not target.can("partition_key"):
        pytest.skip("this server does not find them: it is refused")
    columns = stored_columns(COLUMNS, target=target, partition_key="lang")
    contract = make_contract(carried=NAMES).model_copy(update={"partition_key": "lang"})
    version = store.versions.create(alias, contract=contract, carried=columns)
    for place, lang in enumerate(("de", "en", "de", "")):
        carried = (lang, None, None)
        store.upsert(version, make_batch([lang], doc_id=f"{place}", carried=carried, seed=place))

    store.upsert(version, make_batch(["en"], doc_id="1", carried=("de", 1, 1.0), seed=1))

    assert [column.nullable for column in columns] == [False, True, True]
    assert found(store, version, 'lang == "de"') == ["0", "1", "2"]
    assert found(store, version, 'lang == "en"') == []
    assert found(store, version, 'lang == ""') == ["3"]
    assert store.reader.count(version) == 4


def test_shards_are_as_many_as_the_contract_says(store: MilvusStore, alias: str) -> None:
    if store.is_embedded:
        pytest.skip("Milvus Lite has one, and more are refused")
    contract = make_contract().model_copy(update={"shards": 3})

    version = store.versions.create(alias, contract=contract)

    assert store.versions._describe(version)["num_shards"] == 3


def test_where_vectors_cannot_be_indexed_so_the_indexes_of_columns_come_back(
    store: MilvusStore, version: str
) -> None:
    if store.is_embedded:
        pytest.skip("it is refused before anything is dropped")
    indexes = store.versions.indexes
    before = indexes.read(version)

    with pytest.raises(ConfigurationError, match="does not make diskann"):
        indexes.replace(version, Arrangement(vectors=VectorIndex(type="diskann")))

    assert indexes.read(version) == before
    assert found(store, version, 'lang == "en"') == ["1"]
