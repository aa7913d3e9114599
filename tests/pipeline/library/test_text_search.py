"""A collection with text search: by meaning, by words and by both."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder
from library_fixtures import opened

from embed_index import AsyncCollection, Collection, QueryError
from embed_index.schemas.modes import SearchMode

DOCUMENTS = {
    "coffee": "Descale the coffee machine once a month, or it shows E-4012.",
    "pump": "Close both valves before the pump is opened.",
    "valve": "A valve with the part number 77-1203.",
    "long": " ".join(f"Sentence number {n} of a long document with valves." for n in range(60)),
    "huge": "valves " * 9_000 + "needle in a haystack",
}
MODES: tuple[SearchMode, ...] = ("dense", "text", "hybrid")


@pytest.fixture(scope="module")
def words(
    tmp_path_factory: pytest.TempPathFactory, sample_model: Path, hash_server: HashEmbeddingServer
) -> Iterator[Collection]:
    place = tmp_path_factory.mktemp("words")
    job = JobFolder(
        folder=place, uri=str(place / "store.db"), model=sample_model, server=hash_server
    )
    job.write(DOCUMENTS)
    job.run("--carry", "topic", "--query-instruction", "", "--text-search")
    with opened(job) as collection:
        yield collection


def test_words_find_what_has_them_without_a_server(words: Collection) -> None:
    hits = words.search("E-4012", mode="text")

    assert [hit.doc_id for hit in hits] == ["coffee"]
    assert hits[0].score > 0
    assert hits[0].carried == {"topic": "topic of coffee"}
    assert len(words.search("nothing of that", mode="text", filter='doc_id == "pump"')) == 0


def test_both_find_the_text_itself_and_what_shares_its_words(words: Collection) -> None:
    query = DOCUMENTS["pump"]

    hits = words.search(query, mode="hybrid", limit=3)

    assert hits[0].doc_id == "pump"
    assert hits[0].score == pytest.approx(2 / 61)
    assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True)


def test_weights_decide_between_meaning_and_words(words: Collection) -> None:
    by_meaning = words.search("part 77-1203", limit=1)[0].doc_id

    found = [
        words.search("part 77-1203", mode="hybrid", weights=weights, limit=1)[0].doc_id
        for weights in ((1.0, 0.0), (0.0, 1.0))
    ]

    assert found == [by_meaning, "valve"]


@pytest.mark.parametrize("mode", MODES)
def test_filters_groups_fields_and_many_texts_work_in_every_mode(
    words: Collection, mode: SearchMode
) -> None:
    texts = ["valves of the pump", "valve"]

    filtered = words.search(texts, mode=mode, filter='topic == "topic of long"', limit=4)
    grouped = words.search(texts, mode=mode, group_by="document", limit=3)
    bare = words.search("valves", mode=mode, output_fields=[], limit=2)

    assert {hit.doc_id for hits in filtered for hit in hits} <= {"long"}
    assert len(filtered[0]) == 4
    assert [len({hit.doc_id for hit in hits}) for hits in grouped] == [
        len(hits) for hits in grouped
    ]
    assert len(grouped[0]) == 3
    assert [(hit.text, hit.carried) for hit in bare] == [(None, {})] * 2
    assert words.search([], mode=mode).as_arrow().num_rows == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "sparse"}, "mode is 'dense', 'text' or 'hybrid', not 'sparse'"),
        ({"weights": (1, 1)}, "weights are for mode 'hybrid', not 'dense'"),
        ({"mode": "text", "texts": " "}, "the query is empty"),
        ({"mode": "text", "texts": [3]}, "a query is a text, not int"),
        ({"mode": "text", "texts": "caf\udce9"}, "the query is not UTF-8"),
        ({"mode": "text", "texts": "x" * 65_536}, "has 65,536 bytes, and Milvus takes 65,535"),
        ({"mode": "hybrid", "texts": ["x", "é" * 33_000]}, "has 66,000 bytes"),
        ({"mode": "text", "filter": "nope == 1"}, "does not understand the filter"),
        ({"mode": "hybrid", "filter": "nope == 1"}, "does not understand the filter"),
        *(
            ({"mode": "hybrid", "weights": weights}, "weights are two numbers from 0")
            for weights in [(1,), (0, 0), (-1, 2), (float("nan"), 1), ("a", "b"), 3, (1, 2, 3)]
        ),
    ],
)
def test_what_makes_no_sense_is_a_query_error(
    words: Collection, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        words.search(**({"texts": "x"} | arguments))  # type: ignore[call-overload]


@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_a_collection_without_it_says_how_to_get_it(
    collection: Collection, mode: SearchMode
) -> None:
    with pytest.raises(QueryError, match="cannot be searched by words") as refusal:
        collection.search("x", mode=mode)

    assert "text_search = true" in refusal.value.remedy


async def test_the_asynchronous_twin_has_the_same_modes(words: Collection) -> None:
    twin = AsyncCollection(words)
    try:
        by_words = await twin.search("77-1203", mode="text")
        by_both = await twin.search(["77-1203"], mode="hybrid", weights=(0.0, 1.0), limit=1)
    finally:
        twin._pool.shutdown()

    assert [hit.doc_id for hit in by_words] == ["valve"]
    assert by_both[0][0].doc_id == "valve"
