"""A collection as programs search it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder
from library_fixtures import DOCUMENTS, opened

import embed_index
from embed_index import Collection, QueryError


def test_a_text_finds_itself_with_all_that_is_stored(collection: Collection) -> None:
    hit = collection.search(DOCUMENTS["pump"], limit=1)[0]

    assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert (hit.doc_id, hit.text, hit.version) == ("pump", DOCUMENTS["pump"], collection.version)
    assert hit.carried == {"topic": "topic of pump"}
    assert (hit.chunk_index, hit.char_start, hit.char_end) == (0, 0, len(DOCUMENTS["pump"]))


def test_several_texts_find_each_their_own(collection: Collection) -> None:
    names = ["printer", "coffee", "pump"]

    found = collection.search([DOCUMENTS[name] for name in names], limit=2)

    assert [hits[0].doc_id for hits in found] == names
    assert [hits.query for hits in found] == [DOCUMENTS[name] for name in names]
    assert collection.search([]).as_arrow().num_rows == 0


def test_an_instruction_of_the_callers_is_put_before_the_text(collection: Collection) -> None:
    plain, instructed = (
        collection.embed([text], instruction=instruction)
        for text, instruction in (("Instruct: t\nQuery:x", None), ("x", "t"))
    )

    assert np.array_equal(plain, instructed)


def test_vectors_at_hand_find_what_their_texts_do(collection: Collection) -> None:
    texts = [DOCUMENTS["coffee"], DOCUMENTS["pump"]]

    found = collection.search_vectors(collection.embed(texts), limit=1)

    assert [hits[0].doc_id for hits in found] == ["coffee", "pump"]
    assert [hits.query for hits in found] == [None, None]


@pytest.mark.parametrize(
    ("fields", "text", "carried"),
    [(["topic"], False, True), (["text"], True, False), ([], False, False), (None, True, True)],
)
def test_hits_come_with_the_fields_that_were_asked_for(
    collection: Collection, fields: list[str] | None, text: bool, carried: bool
) -> None:
    hit = collection.search(DOCUMENTS["pump"], limit=1, output_fields=fields)[0]

    assert (hit.text is not None, "topic" in hit.carried) == (text, carried)
    assert hit.doc_id == "pump"


def test_a_vector_comes_where_it_is_asked_for(collection: Collection) -> None:
    hit = collection.search(DOCUMENTS["pump"], limit=1, output_fields=["embedding"])[0]

    assert hit.chunk.vector == pytest.approx(collection.embed([DOCUMENTS["pump"]])[0], abs=1e-6)


def test_grouped_by_document_each_comes_once_however_many_chunks_are_nearer(
    collection: Collection,
) -> None:
    query = collection.document("long").text[:40]

    plain = collection.search(query, limit=3)
    grouped = collection.search(query, limit=len(DOCUMENTS), group_by="document")

    assert len(collection.search("x", limit=100, filter='doc_id == "long"')) > 4
    assert sorted(hit.doc_id for hit in grouped) == sorted(DOCUMENTS)
    assert grouped[0].chunk.chunk_id == plain[0].chunk.chunk_id
    assert [hit.score for hit in grouped] == sorted((h.score for h in grouped), reverse=True)


def test_a_search_keeps_to_its_filter(collection: Collection) -> None:
    hits = collection.search("x", filter='topic like "topic of p%"')

    assert {hit.doc_id for hit in hits} == {"printer", "pump"}


@pytest.mark.parametrize("doc_id", DOCUMENTS)
def test_a_document_is_put_together_again(collection: Collection, doc_id: str) -> None:
    document = collection.document(doc_id)

    assert document.text == DOCUMENTS[doc_id]
    assert document.carried == {"topic": f"topic of {doc_id}"}


def test_neighbours_are_those_around_a_hit_and_end_with_the_document(
    collection: Collection,
) -> None:
    chunks = list(collection.search("x", limit=100, filter='doc_id == "long"'))
    by_index = {hit.chunk_index: hit for hit in chunks}
    last = max(by_index)

    middle = collection.neighbours(by_index[2])
    wide = collection.neighbours(by_index[last], before=2, after=5)

    assert [chunk.chunk_index for chunk in middle] == [1, 2, 3]
    assert "".join(chunk.text or "" for chunk in middle) in DOCUMENTS["long"]
    assert [chunk.chunk_index for chunk in wide] == [last - 2, last - 1, last]
    assert [c.chunk_index for c in collection.neighbours(by_index[0])] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": ""}, "the query is empty"),
        ({"texts": ["fine", " \n"]}, "the query is empty"),
        ({"texts": "caf\udce9"}, "the query is not UTF-8"),
        ({"texts": [7]}, "a query is a text, not int"),
        ({"texts": "word " * 33_000}, "the model sees 32,768"),
        ({"texts": "x", "limit": 0}, "returns 1 to 16384 hits, not 0"),
        ({"texts": "x", "limit": 16_385}, "returns 1 to 16384 hits, not 16385"),
        (
            {"texts": "x", "filter": "nope == 1"},
            "does not understand the filter 'nope == 1': .*nope",
        ),
        ({"texts": "x", "filter": "topic =="}, "does not understand the filter"),
        ({"texts": "x", "filter": 'num_tokens == "a"'}, "does not understand the filter"),
        ({"texts": "x", "filter": None}, "a filter is an expression, not NoneType"),
        ({"texts": "x", "filter": "topic == '\udce9'"}, "the filter is not UTF-8"),
        ({"texts": "x", "group_by": "topic"}, "group_by is 'document' or None"),
        ({"texts": "x", "output_fields": ["nope"]}, "has no field 'nope'"),
        ({"texts": "x", "output_fields": "text"}, "output_fields is a list of names"),
    ],
)
def test_what_cannot_be_searched_for_is_a_query_error(
    collection: Collection, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        collection.search(**arguments)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "vectors", [np.ones((1, 63)), np.full((1, 64), np.nan), np.ones((1, 1, 64))]
)
def test_vectors_that_do_not_fit_are_refused(
    collection: Collection, vectors: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> None:
    with pytest.raises(QueryError, match="the query's vector"):
        collection.search_vectors(vectors)


def test_a_document_that_is_not_there_is_named(collection: Collection) -> None:
    with pytest.raises(QueryError, match="holds no document 'COFFEE'"):
        collection.document("COFFEE")


def test_a_table_has_a_row_a_hit_and_no_name_twice(
    tmp_path: Path, sample_model: Path, hash_server: HashEmbeddingServer
) -> None:
    job = JobFolder(
        folder=tmp_path, uri=str(tmp_path / "s.db"), model=sample_model, server=hash_server
    )
    (tmp_path / "corpus").mkdir()
    table = {"id": ["a", "b"], "text": ["one", "two"], "version": ["1.0", "2.0"], "rank": [7, 8]}
    pq.write_table(pa.table(table), tmp_path / "corpus" / "a.parquet")
    job.run("--carry", "version,rank", "--query-instruction", "")
    with opened(job) as collection:
        rows = collection.search(["one", "two"], limit=1).as_arrow().to_pylist()
        nothing = collection.search("one", filter='doc_id == "z"').as_arrow()

    assert [(row["query_index"], row["query"], row["rank"], row["doc_id"]) for row in rows] == [
        (0, "one", 1, "a"), (1, "two", 1, "b"),
    ]  # fmt: skip
    assert [(row["carried_version"], row["carried_rank"]) for row in rows] == [
        ("1.0", 7),
        ("2.0", 8),
    ]
    assert rows[0]["version"] == f"{job.collection}_v1"
    assert nothing.num_rows == 0
    assert set(nothing.schema.names) == set(rows[0])


def test_a_data_frame_has_the_same_rows(collection: Collection) -> None:
    hits = collection.search("x", limit=2)

    assert hits.as_pandas().to_dict("list")["doc_id"] == [hit.doc_id for hit in hits]


def test_the_package_has_what_it_says() -> None:
    assert [name for name in embed_index.__all__ if not hasattr(embed_index, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        embed_index.nonsense  # noqa: B018
