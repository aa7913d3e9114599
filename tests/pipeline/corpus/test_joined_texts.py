"""A text that stands in several columns, such as title and body."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_index.pipeline.corpus.lookup import CorpusPlace, find_text
from embed_index.pipeline.corpus.parquet import ParquetSource
from embed_index.pipeline.corpus.source import RowBatch
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.ids import text_hash

BOTH = ("title", "body")


def read(folder: Path, *columns: str, **options: Any) -> list[RowBatch]:
    return list(
        ParquetSource([str(folder)], id_column="id", text_columns=columns, **options).read()
    )


def texts(batches: list[RowBatch]) -> dict[str, str]:
    return {
        rows.doc_ids[place]: rows.document(place).text
        for rows in batches
        for place in range(len(rows))
    }


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.dictionary(pa.int32(), pa.string()),
    ],
    ids=str,
)
def test_columns_are_joined_by_a_blank_line_and_nothing_is_no_part(
    tmp_path: Path, kind: pa.DataType
) -> None:
    titles = pa.array(["Pumps é", None, "", "Only a title", None, ""]).cast(kind)
    bodies = [["They run.", "And stop."], ["No title."], ["Empty title."], None, None, None]
    columns = {"id": [*"abcdef"], "title": titles, "body": bodies}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")

    (rows,) = read(tmp_path, *BOTH)

    assert texts([rows]) == {
        "a": "Pumps é\n\nThey run.\n\nAnd stop.",
        "b": "No title.",
        "c": "Empty title.",
        "d": "Only a title",
    }
    assert [x.reason for x in rows.dead_letters] == ["null_text", "empty_text"]
    assert [rows.doc_hashes[n] for n in range(4)] == [text_hash(x) for x in texts([rows]).values()]


def test_what_is_not_utf8_in_one_column_is_a_dead_letter(tmp_path: Path) -> None:
    columns = {"id": ["a", "b"], "title": [b"\xc3", b"good"], "body": [b"\xa9", b"fine"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")

    (rows,) = read(tmp_path, *BOTH)

    assert texts([rows]) == {"b": "good\n\nfine"}
    assert [x.reason for x in rows.dead_letters] == ["invalid_text"]


def test_the_order_is_the_settings_and_ids_are_hashes_of_the_whole(tmp_path: Path) -> None:
    columns = {"id": [1, 2], "title": ["T", "T"], "body": ["one", "two"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")

    found = texts(read(tmp_path, "body", "title", id_from="text"))

    assert found == {text_hash(text): text for text in ("one\n\nT", "two\n\nT")}


def test_a_column_that_a_file_lacks_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "title": ["T"], "body": ["x"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["b"], "body": ["x"]}), tmp_path / "b.parquet")

    with pytest.raises(ConfigurationError, match=r"text_column: .*b\.parquet has no column 'title"):
        read(tmp_path, *BOTH)


def test_few_large_values_of_many_rows_are_decoded_in_parts(tmp_path: Path) -> None:
    large = "word " * 200_000
    columns = {"id": [*range(200)], "title": ["T"] * 200, "body": [large] * 200}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")

    source = ParquetSource([str(tmp_path)], id_column="id", text_columns=BOTH)
    sizes = [int(rows.texts.num_bytes.sum()) for rows in source.read()]

    assert sum(sizes) == 200 * (len(large) + 3)
    assert max(sizes) < 16 << 20


def test_a_joined_text_is_found_again_in_the_corpus(tmp_path: Path) -> None:
    columns = {"id": ["a", "b"], "title": ["One", None], "body": ["first", "second"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    place = CorpusPlace(inputs=(str(tmp_path),), id_column="id", text_columns=BOTH)

    for doc_id, text in (("a", "One\n\nfirst"), ("b", "second")):
        stood_at = "a.parquet#0:0"
        assert text == find_text(place, doc_id=doc_id, doc_hash=text_hash(text), stood_at=stood_at)
