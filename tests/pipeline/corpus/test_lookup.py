"""A document found again in its corpus, where it stood or wherever it stands by now."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_index.pipeline.corpus.lookup import CorpusPlace, find_text
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.ids import text_hash


def corpus(folder: Path, *, text_columns: tuple[str, ...] = ("text",)) -> CorpusPlace:
    return CorpusPlace(inputs=(str(folder),), id_column="id", text_columns=text_columns)


def write(path: Path, ids: pa.Array, texts: list[str | None], *, row_group_size: int = 2) -> None:
    table = pa.table({"id": ids, "text": pa.array(texts, pa.string())})
    pq.write_table(table, path, row_group_size=row_group_size)


def find(place: CorpusPlace, doc_id: str, text: str, stood_at: str = "a.parquet#0:0") -> str | None:
    return find_text(place, doc_id=doc_id, doc_hash=text_hash(text), stood_at=stood_at)


@pytest.mark.parametrize("stood_at", ["b.parquet#1:0", "b.parquet#0:0", "gone.parquet#7:1", "odd"])
def test_it_is_found_wherever_it_stands(tmp_path: Path, stood_at: str) -> None:
    write(tmp_path / "a.parquet", pa.array(["1", "2", "3"]), ["one", "two", "three"])
    write(tmp_path / "b.parquet", pa.array(["4", "5", "6", None]), ["four", "five", "six", "x"])

    assert find(corpus(tmp_path), "6", "six", stood_at) == "six"


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([1, 2, None], pa.int32()),
        pa.array(["1", "2", None], pa.large_string()),
        pa.array(["1", "2", None]).dictionary_encode(),
    ],
    ids=lambda ids: str(ids.type),
)
def test_ids_are_of_any_type_that_a_run_takes(tmp_path: Path, ids: pa.Array) -> None:
    write(tmp_path / "a.parquet", ids, ["one", "two", "three"])

    assert find(corpus(tmp_path), "2", "two") == "two"


def test_of_two_rows_with_one_id_the_one_that_was_indexed_is_meant(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.array(["1", "1", "1"]), [None, "first", "second"])

    assert find(corpus(tmp_path), "1", "second") == "second"
    assert find(corpus(tmp_path), "1", "third") is None
    assert find(corpus(tmp_path), "2", "second") is None


def test_a_corpus_that_is_another_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.array(["1"]), ["one"])

    with pytest.raises(ConfigurationError, match=r"text_column: .* has no column 'body'"):
        find(corpus(tmp_path, text_columns=("body",)), "1", "one")
    with pytest.raises(ConfigurationError, match="does not exist"):
        find(corpus(tmp_path / "nowhere"), "1", "one")


def test_a_damaged_file_is_named_once_the_others_were_read(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.array(["1"]), ["one"])
    write(tmp_path / "b.parquet", pa.array(["2"]), ["two"])
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:4] + b"\xff" * 60 + content[64:])

    assert find(corpus(tmp_path), "2", "two") == "two"
    with pytest.raises(ConfigurationError, match=r"a\.parquet cannot be read at row group 0"):
        find(corpus(tmp_path), "1", "one")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    assert find(corpus(tmp_path), "2", "two") == "two"
    with pytest.raises(ConfigurationError, match=r"a\.parquet is not a readable Parquet file"):
        find(corpus(tmp_path), "3", "three")
