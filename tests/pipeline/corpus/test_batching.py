"""Batches are sized by what is read, once it is decoded."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_index.pipeline.corpus.batching import TARGET_BATCH_BYTES
from embed_index.pipeline.corpus.parquet import ParquetSource
from embed_index.pipeline.corpus.source import RowBatch

LONG = "pumps and printers " * 26_000


def batches(path: Path, columns: dict[str, Any], *carry: str, **options: Any) -> list[RowBatch]:
    file = path / "one.parquet"
    pq.write_table(pa.table(columns), file, **options)
    source = ParquetSource([str(file)], id_column="id", text_columns=("text",), carry=carry)
    return list(source.read())


def num_bytes(batch: RowBatch) -> int:
    return int(batch.texts.num_bytes.sum())


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
@pytest.mark.parametrize("where", ["everywhere", "at the end"])
def test_a_repeated_text_counts_as_often_as_it_is_there(
    tmp_path: Path, kind: pa.DataType, where: str
) -> None:
    texts = [LONG] * 300 if where == "everywhere" else ["a short one"] * 5000 + [LONG] * 300
    column = pa.array(texts).dictionary_encode().cast(kind)

    read = batches(tmp_path, {"id": list(range(len(texts))), "text": column})

    assert max(map(num_bytes, read)) <= TARGET_BATCH_BYTES
    assert [text for batch in read for text in batch.texts.strings()] == texts
    rows = [batch.source(place).row for batch in read for place in range(len(batch))]
    assert rows == list(range(len(texts)))


def test_a_column_that_is_not_read_does_not_count(tmp_path: Path) -> None:
    columns = {
        "id": list(range(256)),
        "text": [f"text {n}" for n in range(256)],
        "unread": [bytes([n]) * 131_072 for n in range(256)],
    }

    assert [len(batch) for batch in batches(tmp_path, columns, use_dictionary=False)] == [256]


def test_a_text_that_is_larger_than_a_batch_comes_alone(tmp_path: Path) -> None:
    huge = LONG * 20
    texts = ["a", "b", huge, huge, "c"]

    read = batches(tmp_path, {"id": list(range(5)), "text": texts})

    assert [[len(text) for text in batch.texts.strings()] for batch in read] == [
        [1, 1], [len(huge)], [len(huge)], [1],
    ]  # fmt: skip


def test_repeated_nulls_and_metadata_are_read_as_they_are(tmp_path: Path) -> None:
    topics = ["pumps", None, "printers", None] * 500
    texts = [None if n % 3 else "the same text" for n in range(2000)]

    (batch,) = batches(tmp_path, {"id": list(range(2000)), "text": texts, "topic": topics}, "topic")

    assert [*batch.carried] == [(topics[row] or "",) for row in range(0, 2000, 3)]
    assert [letter.reason for letter in batch.dead_letters] == ["null_text"] * 1333


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}])
def test_a_large_text_is_held_once_and_let_go_when_it_is_told_to(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    num_bytes = 2 * TARGET_BATCH_BYTES
    table = pa.table({"id": ["large"], "text": ["a large text. " * (num_bytes // 14)]})
    pq.write_table(table, tmp_path / "a.parquet", **options)
    del table
    source = ParquetSource((str(tmp_path),), id_column="id", text_columns=("text",))
    before = pa.total_allocated_bytes()

    batches = source.read()
    rows = next(batches)
    document = rows.document(0)

    assert pa.total_allocated_bytes() - before < 1.1 * num_bytes, "Arrow keeps what it read"
    rows.texts.release()
    assert pa.total_allocated_bytes() - before < 0.1 * num_bytes
    assert len(document.text) > 0.9 * num_bytes
    assert not list(batches)


def test_small_files_are_read_together_and_their_rows_keep_their_places(tmp_path: Path) -> None:
    for number in range(9):
        ids = [f"{number}-{row}" for row in range(number)]
        columns = {"id": ids, "text": [None if row == 2 else "a text" for row in range(number)]}
        schema = pa.schema({"id": pa.string(), "text": pa.string()})
        pq.write_table(pa.table(columns, schema), tmp_path / f"{number}.parquet", row_group_size=4)

    (batch,) = ParquetSource([str(tmp_path)], id_column="id", text_columns=("text",)).read()

    places = [(name, row) for name in range(9) for row in range(name)]
    expected = [f"{name}.parquet#{row // 4}:{row % 4}" for name, row in places]
    assert batch.sources() == [e for e, (_, row) in zip(expected, places, strict=True) if row != 2]
    assert [str(letter.source) for letter in batch.dead_letters] == [
        e for e, (_, row) in zip(expected, places, strict=True) if row == 2
    ]
    assert [str(batch.document(place).source) for place in range(len(batch))] == batch.sources()
    assert batch.doc_ids == [f"{name}-{row}" for name, row in places if row != 2]


def test_what_is_read_together_is_no_larger_than_a_batch(tmp_path: Path) -> None:
    texts = [["short"] * 700] * 5 + [[LONG] * 4] * 9 + [["short"] * 2100] + [["short"]] * 2
    for number, column in enumerate(texts):
        ids = [f"{number}-{row}" for row in range(len(column))]
        file = tmp_path / f"{number:02}.parquet"
        pq.write_table(pa.table({"id": ids, "text": column}), file, use_dictionary=False)

    read = list(ParquetSource([str(tmp_path)], id_column="id", text_columns=("text",)).read())

    assert [len(batch) for batch in read] == [1400, 1400, 716, 16, 4, 2048, 54]
    assert max(map(num_bytes, read)) <= TARGET_BATCH_BYTES


def test_files_whose_columns_are_laid_out_otherwise_are_read_apart(tmp_path: Path) -> None:
    for number, kind in enumerate([pa.string(), pa.large_string(), pa.string()]):
        table = pa.table({"id": pa.array([f"{number}"]), "text": pa.array(["a text"], kind)})
        pq.write_table(table, tmp_path / f"{number}.parquet")

    read = list(ParquetSource([str(tmp_path)], id_column="id", text_columns=("text",)).read())

    assert [batch.doc_ids for batch in read] == [["0"], ["1"], ["2"]]
