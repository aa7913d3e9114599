from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_index.pipeline.corpus.parquet import ParquetSource
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import DeadLetter, Document


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def open_source(*inputs: Path | str, carry: tuple[str, ...] = ()) -> ParquetSource:
    return ParquetSource(
        [str(path) for path in inputs], id_column="id", text_columns=("text",), carry=carry
    )


def read(source: ParquetSource) -> tuple[list[Document], list[DeadLetter]]:
    batches = list(source.read())
    return (
        [batch.document(place) for batch in batches for place in range(len(batch))],
        [letter for batch in batches for letter in batch.dead_letters],
    )


def invalid_utf8(kind: pa.DataType, values: list[bytes | None]) -> pa.Array:
    binary = pa.large_binary() if kind == pa.large_string() else pa.binary()
    return pa.array(values, binary).view(kind)


def test_documents_know_file_row_group_and_row(tmp_path: Path) -> None:
    write(tmp_path / "b" / "two.parquet", {"id": ["x"], "text": ["t"]})
    write(tmp_path / "one.parquet", {"id": [1, 2, 3], "text": ["a", "b", "c"]}, row_group_size=2)

    documents, dead_letters = read(open_source(tmp_path))

    assert not dead_letters
    assert [(d.doc_id, str(d.source)) for d in documents] == [
        ("x", "b/two.parquet#0:0"),
        ("1", "one.parquet#0:0"),
        ("2", "one.parquet#0:1"),
        ("3", "one.parquet#1:0"),
    ]


@pytest.mark.parametrize("pattern", ["*.parquet", "**/*.parquet", "one.*", "."])
def test_globs_folders_and_files_name_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    write(tmp_path / "one.parquet", {"id": ["x"], "text": ["t"]})
    monkeypatch.chdir(tmp_path)

    assert open_source(pattern).num_rows == 1


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    file = write(tmp_path / "one.parquet", {"id": ["x"], "text": ["t"]})

    assert len(open_source(file, tmp_path).files) == 1


def test_columns_are_carried_as_milvus_can_hold_them(tmp_path: Path) -> None:
    moment = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    write(
        tmp_path / "one.parquet",
        {
            "id": ["x", "y"],
            "text": ["t", "u"],
            "product": pa.array(["pump", None]).dictionary_encode(),
            "severity": pa.array([3, None], pa.int16()),
            "score": pa.array([0.5, None], pa.float32()),
            "open": pa.array([True, None]),
            "created_at": pa.array([moment, None], pa.timestamp("ns", "Europe/Berlin")),
            "day": pa.array([date(2024, 5, 6), None]),
        },
    )
    carry = ("product", "severity", "score", "open", "created_at", "day")
    source = open_source(tmp_path, carry=carry)

    assert [(c.name, c.type) for c in source.carried_columns] == list(
        zip(carry, ("text", "integer", "number", "boolean", "text", "text"), strict=True)
    )
    assert [document.carried for document in read(source)[0]] == [
        ("pump", 3, 0.5, True, "2024-05-06T07:08:09.000000Z", "2024-05-06"),
        ("", 0, 0.0, False, "", ""),
    ]


@pytest.mark.parametrize(
    ("doc_id", "text", "reason"),
    [
        (None, "t", "null_id"),
        ("", "t", "empty_id"),
        (" \t", "t", "empty_id"),
        ("a\nb", "t", "invalid_id"),
        ("a\x00", "t", "invalid_id"),
        ("é" * 257, "t", "long_id"),
        ("bad", None, "null_text"),
        ("bad", "", "empty_text"),
        ("bad", " \n\t", "empty_text"),
        ("bad", "a\x00b", "nul_in_text"),
    ],
)
def test_a_bad_row_is_a_dead_letter_and_the_others_are_read(
    tmp_path: Path, doc_id: str | None, text: str | None, reason: str
) -> None:
    write(tmp_path / "one.parquet", {"id": ["a", doc_id, "c"], "text": ["t", text, "v"]})

    documents, (letter,) = read(open_source(tmp_path))

    assert [document.doc_id for document in documents] == ["a", "c"]
    assert (letter.reason, letter.stage, str(letter.source)) == (
        reason,
        "read",
        "one.parquet#0:1",
    )


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_text_that_is_not_utf8_is_a_dead_letter(tmp_path: Path, kind: pa.DataType) -> None:
    # A lone surrogate in three bytes, as some writers let it pass.
    texts = invalid_utf8(kind, [b"good", b"\xed\xa0\x80", None, "gut é".encode()])
    write(tmp_path / "one.parquet", {"id": ["a", "b", "c", "d"], "text": texts})

    documents, dead_letters = read(open_source(tmp_path))

    assert [(d.doc_id, d.text) for d in documents] == [("a", "good"), ("d", "gut é")]
    assert [letter.reason for letter in dead_letters] == ["invalid_text", "null_text"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "invalid_carried"),
        (float("inf"), "invalid_carried"),
        ("x" * 9000, "long_carried"),
    ],
)
def test_a_carried_value_that_milvus_refuses_is_a_dead_letter(
    tmp_path: Path, value: object, reason: str
) -> None:
    write(tmp_path / "one.parquet", {"id": ["a"], "text": ["t"], "extra": [value]})

    _, (letter,) = read(open_source(tmp_path, carry=("extra",)))

    assert letter.reason == reason


@pytest.mark.parametrize(
    ("columns", "carry", "match"),
    [
        ({"text": ["t"]}, (), "no column 'id'"),
        ({"id": ["a"]}, (), "no column 'text'"),
        ({"id": ["a"], "text": ["t"]}, ("lang",), "no column 'lang'"),
        ({"id": [True], "text": ["t"]}, (), "id_column: 'id' .* is bool"),
        ({"id": ["a"], "text": [7]}, (), "text_column: 'text' .* is int64"),
        ({"id": ["a"], "text": ["t"], "tags": [[b"x"]]}, ("tags",), "cannot carry"),
    ],
)
def test_a_corpus_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, columns: dict[str, Any], carry: tuple[str, ...], match: str
) -> None:
    file = write(tmp_path / "one.parquet", columns)

    with pytest.raises(ConfigurationError, match=match) as caught:
        open_source(file, carry=carry)
    assert caught.value.remedy


def test_a_missing_file_an_empty_folder_and_a_file_of_another_kind_are_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "notes.parquet.txt").write_text("not Parquet")

    with pytest.raises(ConfigurationError, match=r"nothing\.parquet does not exist"):
        open_source(tmp_path / "nothing.parquet")
    with pytest.raises(ConfigurationError, match=r"holds no \*\.parquet"):
        open_source(tmp_path)
    with pytest.raises(ConfigurationError, match="not a readable Parquet file"):
        open_source(tmp_path / "notes.parquet.txt")


def test_a_file_damaged_in_the_middle_is_named_when_it_is_reached(tmp_path: Path) -> None:
    file = write(
        tmp_path / "one.parquet",
        {"id": [str(i) for i in range(1000)], "text": [f"text {i * i}" for i in range(1000)]},
        compression="zstd",
    )
    content = bytearray(file.read_bytes())
    content[40:4000] = bytes(len(content[40:4000]))
    file.write_bytes(bytes(content))

    with pytest.raises(ConfigurationError, match="row group 0"):
        read(open_source(file))


def test_a_carried_column_has_one_type_in_all_files(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": ["a"], "text": ["t"], "n": [1]})
    write(tmp_path / "b.parquet", {"id": ["b"], "text": ["t"], "n": ["1"]})

    with pytest.raises(ConfigurationError, match="'n' is text"):
        open_source(tmp_path, carry=("n",))
