"""Queries and judgements as others write them, and each malformed file told of in a sentence."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_index.pipeline.evaluation.label_files import read_labels
from embed_index.pipeline.evaluation.labels import LabelledQueries
from embed_index.schemas.errors import ConfigurationError

QUERIES = {"q1": "how to reset", "q2": "打印机"}
GRADES = {"q1": {"d1": 2, "d2": 0}, "q2": {"d3": 1}}
JSONL_QUERIES = "\n".join(json.dumps({"_id": k, "text": v}) for k, v in QUERIES.items())
TREC_QRELS = "q1 0 d1 2\nq1 0 d2 0\nq2 0 d3 1\n"
TSV_QUERIES = "q1\thow to reset\nq2\t打印机\n"
TOPICS = """<top>
<num> Number: q1
<title> how to
reset
<desc> Description:
Something longer.
</top>
<top><num>q2</num><title>打印机</title></top>
"""


def read(folder: Path, queries: str | bytes, qrels: str | bytes | None) -> LabelledQueries:
    paths = []
    for name, content in (("queries", queries), ("qrels", qrels)):
        if content is not None:
            paths.append(folder / f"{name}.txt")
            paths[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labels(paths[0], paths[1] if qrels is not None else None)


def shown(labels: LabelledQueries) -> dict[str, tuple[str, dict[str, int]]]:
    return {query.id: (query.text, dict(query.grades)) for query in labels.queries}


EXPECTED = {query_id: (text, GRADES[query_id]) for query_id, text in QUERIES.items()}


@pytest.mark.parametrize(
    "queries",
    [
        pytest.param(JSONL_QUERIES, id="json lines of BEIR"),
        pytest.param(JSONL_QUERIES.replace("_id", "query_id").replace("text", "query"), id="ours"),
        pytest.param(TSV_QUERIES, id="id, tab, text"),
        pytest.param("id\ttext\n" + TSV_QUERIES, id="with a head"),
        pytest.param(TOPICS, id="TREC topics"),
        pytest.param(b"\xef\xbb\xbf" + TSV_QUERIES.replace("\n", "\r\n").encode(), id="BOM, CRLF"),
        pytest.param(gzip.compress(JSONL_QUERIES.encode()), id="gzip"),
    ],
)
def test_queries_are_read_in_every_layout(tmp_path: Path, queries: str | bytes) -> None:
    assert shown(read(tmp_path, queries, TREC_QRELS)) == EXPECTED


@pytest.mark.parametrize(
    "qrels",
    [
        pytest.param(TREC_QRELS, id="TREC"),
        pytest.param(TREC_QRELS.replace(" ", "\t"), id="TREC with tabs"),
        pytest.param(TREC_QRELS.replace(" ", "   ").replace("\n", "\r\n"), id="spaces, CRLF"),
        pytest.param("\ufeff" + TREC_QRELS + "\n\n", id="BOM, empty lines"),
        pytest.param("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td3\t1\n", id="BEIR"),
        pytest.param("q1\td1\t2\nq1\td2\t0\nq2\td3\t1\n", id="BEIR without its head"),
        pytest.param(TREC_QRELS + "q1 0 d1 2\n", id="one said twice"),
        pytest.param("# by hand\n" + TREC_QRELS, id="with a comment"),
        pytest.param(TREC_QRELS.replace("d2 0", "d2 0.0"), id="whole floats"),
        pytest.param(
            "\n".join(
                json.dumps({"query_id": q, "doc_id": d, "relevance": r})
                for q, grades in GRADES.items()
                for d, r in grades.items()
            ),
            id="json lines",
        ),
    ],
)
def test_judgements_are_read_in_every_layout(tmp_path: Path, qrels: str) -> None:
    assert shown(read(tmp_path, JSONL_QUERIES, qrels)) == EXPECTED


def test_parquet_is_read_with_numbers_as_ids(tmp_path: Path) -> None:
    pq.write_table(pa.table({"_id": [1, 2], "text": ["one", "two"]}), tmp_path / "queries.parquet")
    pq.write_table(
        pa.table({"query-id": [1, 2], "corpus-id": [10, 20], "score": [1.0, -2.0]}),
        tmp_path / "qrels.parquet",
    )

    labels = read_labels(tmp_path / "queries.parquet", tmp_path / "qrels.parquet")

    assert shown(labels) == {"1": ("one", {"10": 1})}
    assert labels.notes == ("1 query is left out, for no document is judged relevant to it: '2'",)


def test_the_folder_of_beir_is_its_queries_and_its_test_judgements(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text(JSONL_QUERIES)
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")

    labels = read_labels(tmp_path, None)

    assert shown(labels) == {"q1": ("how to reset", {"d1": 1})}
    assert labels.notes == ("1 query is left out, for nothing is judged for it: 'q2'",)


def test_queries_may_say_themselves_what_answers_them(tmp_path: Path) -> None:
    rows = [{"query": "a", "doc_ids": ["d1", "d2"]}, {"query": "b", "doc_ids": {"d3": 2}}]

    labels = read(tmp_path, "\n".join(map(json.dumps, rows)), None)

    assert shown(labels) == {"1": ("a", {"d1": 1, "d2": 1}), "2": ("b", {"d3": 2})}


def test_what_is_judged_without_a_text_is_told(tmp_path: Path) -> None:
    labels = read(tmp_path, JSONL_QUERIES, TREC_QRELS + "q3 0 d1 1\nq4 0 d1 1\n")

    assert labels.notes == (
        "2 queries are judged, but the file of queries has no text for them: 'q3', 'q4'",
    )


@pytest.mark.parametrize(
    ("queries", "qrels", "complaint"),
    [
        ("", TREC_QRELS, "queries.txt is empty"),
        ("\n \n", TREC_QRELS, "queries.txt is empty"),
        (JSONL_QUERIES, "", "qrels.txt is empty"),
        ("q1 how to reset\n", TREC_QRELS, "queries.txt, line 1 has no tab between id and text"),
        ('{"_id": "q1", "text": "x"}\n{oops', TREC_QRELS, "line 2 is no JSON object"),
        ('{"_id": "q1", "text": "x"}\n[1]', TREC_QRELS, "line 2 is no JSON object"),
        ('{"_id": "q1"}', TREC_QRELS, "line 1 has no column with a text; it has _id"),
        ('{"text": "x"}', TREC_QRELS, "line 1 has no column with an id; it has text"),
        ('{"_id": "q1", "text": " "}', TREC_QRELS, "line 1: the query's text is ' '"),
        ('{"_id": null, "text": "x"}', TREC_QRELS, "line 1: null is no id of a query"),
        ('{"_id": 1.5, "text": "x"}', TREC_QRELS, "line 1: 1.5 is no id of a query"),
        (TSV_QUERIES + "q1\tother\n", TREC_QRELS, "line 3: the query 'q1' stands in line 1, too"),
        (b"q1\t\xff\n", TREC_QRELS, "line 1 is not UTF-8 at byte 3"),
        (TSV_QUERIES.encode("utf-16"), TREC_QRELS, "is UTF-16, not UTF-8"),
        (gzip.compress(b"x" * 999, mtime=0)[:20], TREC_QRELS, "is a damaged gzip file"),
        ("<top><num>1</num>", TREC_QRELS, "has no <top> that is closed by </top>"),
        (JSONL_QUERIES, "q1 0 d1 1\nq1 0 d2 1 9\n", "line 2 has 5 columns"),
        (JSONL_QUERIES, "q1 0 d1 high\n", "line 1: the relevance is 'high'"),
        (JSONL_QUERIES, "q1 0 d1 0.5\n", "line 1: the relevance is '0.5'"),
        (JSONL_QUERIES, "q1 0 d1 nan\n", "line 1: the relevance is 'nan'"),
        (JSONL_QUERIES, "q1 0 d1 1\nq1 0 d1 0\n", "has the relevance 0 for query 'q1', and 1 in"),
        (JSONL_QUERIES, "q1 0 d1 0\n", "no query has a document that answers it"),
        (JSONL_QUERIES, "x 0 d1 1\n", "judgements name 'x'"),
        (JSONL_QUERIES, None, "does not say which documents answer its queries"),
    ],
)
def test_a_malformed_file_is_told_of_in_a_sentence_with_its_place(
    tmp_path: Path, queries: str | bytes, qrels: str | None, complaint: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, queries, qrels)

    assert complaint in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.remedy


def test_a_file_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_labels(tmp_path / "nowhere.jsonl", None)


def test_the_fingerprint_is_that_of_what_is_asked(tmp_path: Path) -> None:
    prints = {
        read(tmp_path, queries, qrels).fingerprint
        for queries, qrels in (
            (JSONL_QUERIES, TREC_QRELS),
            (TSV_QUERIES, TREC_QRELS.replace("d2 0", "d2 -1")),
        )
    }
    other = read(tmp_path, JSONL_QUERIES, TREC_QRELS.replace("d1 2", "d1 1"))

    assert len(prints) == 1
    assert other.fingerprint not in prints
