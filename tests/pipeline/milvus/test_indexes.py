"""Indexes over vectors: what a target has, what they are made and searched with."""

from collections.abc import Iterator, Mapping

import pytest
from milvus_fixtures import make_batch, make_contract
from milvus_server import MilvusServer

from embed_index.pipeline.milvus.arrangement import Arrangement, MadeArrangement
from embed_index.pipeline.milvus.indexes import MadeIndex, VectorIndex, check_index, search_params
from embed_index.pipeline.milvus.store import MilvusStore, open_store
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.indexes import IndexType

TEXTS = [f"text {number}" for number in range(40)]


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusStore]:
    with open_store(str(tmp_path_factory.mktemp("indexes") / "store.db")) as store:
        yield store


@pytest.mark.parametrize(
    ("kind", "params", "embedded", "message"),
    [
        ("diskann", {}, True, "index_type: Milvus Lite has no diskann"),
        ("hnsw", {"nlist": 4}, True, "hnsw takes no nlist; it takes M, efConstruction"),
        ("hnsw", {"m": 4}, False, "hnsw takes no m"),
        ("flat", {"M": 4}, False, "flat takes no M; it takes none"),
        ("ivf_sq8", {"nlist": 0}, False, "nlist is 0, and must be from 1 to 65,536"),
        ("hnsw", {"M": 4096}, False, "M is 4,096, and must be from 2 to 2,048"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(
    kind: IndexType, params: Mapping[str, int], embedded: bool, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_index(VectorIndex(type=kind, params=params), embedded=embedded)


@pytest.mark.parametrize(
    ("kind", "params", "made"),
    [
        ("auto", {}, "FLAT"),
        ("flat", {}, "FLAT"),
        ("hnsw", {"M": 8}, "HNSW"),
        ("ivf_flat", {"nlist": 2}, "IVF_FLAT"),
        ("ivf_sq8", {"nlist": 1}, "IVF_SQ8"),
    ],
)
def test_a_version_has_the_index_that_was_wanted_and_finds_its_rows(
    lite: MilvusStore, alias: str, kind: IndexType, params: Mapping[str, int], made: str
) -> None:
    index = VectorIndex(type=kind, params=params)
    batch = make_batch(TEXTS)

    version = lite.versions.create(
        alias, contract=make_contract(), arrangement=Arrangement(vectors=index)
    )
    lite.upsert(version, batch)
    lite.flush(version)

    assert lite.versions.indexes.read(version) == MadeArrangement(
        vectors=MadeIndex(milvus_type=made, params={})
    )
    (best, *_) = lite.reader.search(version, batch.vectors[3], limit=3, consistency="Strong")
    assert best.chunk.chunk_index == 3


def test_another_index_over_the_same_rows_loses_none(lite: MilvusStore, alias: str) -> None:
    contract = make_contract().model_copy(update={"text_analyzer": "standard"})
    version = lite.versions.create(alias, contract=contract)
    batch = make_batch(TEXTS)
    lite.upsert(version, batch)
    told: list[str] = []

    kinds: tuple[IndexType, ...] = ("hnsw", "ivf_flat", "auto")
    for kind in kinds:
        wanted = Arrangement(vectors=VectorIndex(type=kind))
        for expected in (True, False):
            changed = lite.versions.indexes.replace(
                version, wanted, before_change=lambda changes: told.append(str(changes))
            )
            assert changed is expected
        hits = lite.reader.search(version, batch.vectors[5], limit=40, consistency="Strong")
        assert hits[0].chunk.chunk_index == 5
    assert told == [f"the vectors are indexed anew as {VectorIndex(type=kind)}" for kind in kinds]
    assert lite.reader.count(version) == len(TEXTS)
    found = lite.reader.nearest.search_texts(
        version, ["7"], layout=lite.versions.layout(version), limit=5
    )
    assert [hit.chunk_index for hit in found[0]] == [7]


@pytest.mark.milvus_server
def test_a_server_replaces_indexes_and_keeps_the_old_one_where_it_has_no_such(
    milvus_server: MilvusServer, alias: str
) -> None:
    with open_store(milvus_server.uri, connect_seconds=60) as store:
        version = store.versions.create(alias, contract=make_contract())
        batch = make_batch(TEXTS)
        store.upsert(version, batch)
        hnsw = VectorIndex(type="hnsw", params={"M": 8})
        wanted = Arrangement(vectors=hnsw)

        assert store.versions.indexes.replace(version, wanted)
        assert not store.versions.indexes.replace(version, wanted)
        with pytest.raises(ConfigurationError, match=r"does not make diskann: .*not supported"):
            store.versions.indexes.replace(
                version, Arrangement(vectors=VectorIndex(type="diskann"))
            )

        made = store.versions.indexes.read(version).vectors
        assert made is not None
        assert made.is_(hnsw, embedded=False)
        (best, *_) = store.reader.search(version, batch.vectors[3], consistency="Strong")
        assert best.chunk.chunk_index == 3


@pytest.mark.parametrize(
    ("milvus_type", "made_with", "limit", "expected"),
    [
        ("AUTOINDEX", {}, 10, {}),
        ("FLAT", {}, 16_384, {}),
        ("HNSW", {"M": 8}, 10, {"ef": 128}),
        ("HNSW", {}, 100, {"ef": 200}),
        ("HNSW", {}, 16_384, {"ef": 16_384}),
        ("IVF_SQ8", {"nlist": "4096"}, 10, {"nprobe": 256}),
        ("IVF_FLAT", {"nlist": 4}, 10, {"nprobe": 16}),
        ("DISKANN", {}, 300, {"search_list": 600}),
        ("SCANN", {"nlist": 64}, 10, {}),
    ],
)
def test_an_index_is_searched_further_than_the_hits_wanted(
    milvus_type: str, made_with: Mapping[str, int], limit: int, expected: Mapping[str, int]
) -> None:
    assert search_params(milvus_type, made_with, limit=limit) == expected


def test_milvus_lite_which_does_not_say_them_makes_an_index_with_other_parameters_anew() -> None:
    made = MadeIndex(milvus_type="HNSW", params={})

    assert made.is_(VectorIndex(type="hnsw"), embedded=True)
    assert not made.is_(VectorIndex(type="hnsw", params={"M": 8}), embedded=True)
    assert not made.is_(VectorIndex(type="hnsw", params={"M": 8}), embedded=False)
