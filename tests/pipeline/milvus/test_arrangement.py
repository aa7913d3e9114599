"""How Milvus keeps a version: indexes for filters, on both targets."""

import pytest
from milvus_fixtures import make_batch, make_contract
from pymilvus import MilvusClient

from embed_index.pipeline.milvus.arrangement import Arrangement
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
