"""What other programs write is read where it can mean one thing only, and what was done is said."""

from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_index.pipeline.corpus.parquet import ParquetSource
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import DeadLetter, Document

UUIDS = [UUID(int=n << 64 | 7) for n in (1, 2, 2**63)]
TEXTS = ["one", "zwei é", "三"]


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def open_source(folder: Path, *carry: str, **columns: Any) -> ParquetSource:
    names: dict[str, Any] = {"id_column": "id", "text_columns": ("text",)} | columns
    return ParquetSource([str(folder)], carry=carry, **names)


def read(source: ParquetSource) -> tuple[list[Document], list[DeadLetter]]:
    batches = list(source.read())
    return (
        [batch.document(place) for batch in batches for place in range(len(batch))],
        [letter for batch in batches for letter in batch.dead_letters],
    )


def utf8(kind: pa.DataType) -> pa.Array:
    return pa.array([text.encode() for text in TEXTS], kind)


def lists(kind: pa.DataType) -> pa.Array:
    return pa.array([["one"], ["zwei", "é"], ["三", None]], kind)


def joined(texts: list[str]) -> list[str]:
    return [texts[0], texts[1].replace(" ", "\n\n"), texts[2]]


@pytest.mark.parametrize("has_arrow_schema", [True, False])
@pytest.mark.parametrize("row_group_size", [2, 3])
@pytest.mark.parametrize(
    ("texts", "expected", "said"),
    [
        (utf8(pa.binary()), TEXTS, "bytes without a mark as text, as UTF-8"),
        (utf8(pa.large_binary()), TEXTS, "bytes without a mark as text, as UTF-8"),
        (utf8(pa.binary()).dictionary_encode(), TEXTS, "bytes without a mark as text, as UTF-8"),
        (pa.ExtensionArray.from_storage(pa.json_(), pa.array(TEXTS)), TEXTS, ""),
        (lists(pa.list_(pa.string())), joined(TEXTS), "lists of strings, joined by a blank line"),
        (
            lists(pa.large_list(pa.binary())),
            joined(TEXTS),
            "lists of strings, joined by a blank line",
        ),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_texts_are_read_from_what_holds_texts(
    tmp_path: Path,
    texts: pa.Array,
    expected: list[str],
    said: str,
    row_group_size: int,
    has_arrow_schema: bool,
) -> None:
    write(
        tmp_path / "one.parquet",
        {"id": ["a", "b", "c"], "text": texts},
        row_group_size=row_group_size,
        store_schema=has_arrow_schema,
    )
    source = open_source(tmp_path)

    assert [notice for notice in source.take_notices() if "text_column" in notice] == (
        [f"text_column: text holds {said}"] if said else []
    )
    assert [document.text for document in read(source)[0]] == expected


def test_bytes_that_are_not_utf8_are_dead_letters(tmp_path: Path) -> None:
    texts: list[list[bytes | None] | None] = [[b"good"], [b"a", b"\xff"], None, [], [None]]
    write(
        tmp_path / "one.parquet",
        {
            "id": pa.array([b"a", b"b", b"c", b"\xfe", b"e"], pa.binary()),
            "text": pa.array(texts, pa.list_(pa.binary())),
            "label": pa.array([b"x"] * 5, pa.binary()),
        },
    )

    (document,), letters = read(open_source(tmp_path, "label"))

    assert (document.doc_id, document.text, document.carried) == ("a", "good", ("x",))
    assert [letter.reason for letter in letters] == [
        "invalid_text",
        "null_text",
        "invalid_id",
        "empty_text",
    ]


@pytest.mark.parametrize("has_arrow_schema", [True, False])
@pytest.mark.parametrize(
    ("ids", "expected", "said"),
    [
        (
            pa.ExtensionArray.from_storage(
                pa.uuid(), pa.array([u.bytes for u in UUIDS], pa.binary(16))
            ),
            [str(u) for u in UUIDS],
            "UUIDs, as text",
        ),
        (
            pa.array([b"\x00\xff", b"ab", b"\x80\x01"], pa.binary(2)),
            ["00ff", "6162", "8001"],
            "bytes of fixed length, as hexadecimal digits",
        ),
        (
            pa.array([Decimal(2**70), Decimal(0), Decimal(-7)], pa.decimal128(38, 0)),
            [str(2**70), "0", "-7"],
            "decimals, as their digits",
        ),
        (
            pa.array([Decimal("1.50"), Decimal(0), Decimal("-0.01")], pa.decimal128(9, 2)),
            ["1.50", "0.00", "-0.01"],
            "decimals, as their digits",
        ),
        (
            pa.array([Decimal("0.000000001"), Decimal(0), Decimal(1)], pa.decimal128(20, 9)),
            ["0.000000001", "0.000000000", "1.000000000"],
            "decimals, as their digits",
        ),
        (
            pa.array([1.0, -2.0, 2.0**53 - 1]),
            ["1", "-2", "9007199254740991"],
            "floats, of which whole numbers below 2**53 are ids",
        ),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_ids_are_read_exactly(
    tmp_path: Path, ids: pa.Array, expected: list[str], said: str, has_arrow_schema: bool
) -> None:
    write(tmp_path / "one.parquet", {"id": ids, "text": TEXTS}, store_schema=has_arrow_schema)
    source = open_source(tmp_path)

    assert source.take_notices() == [f"id_column: id holds {said}"]
    assert [document.doc_id for document in read(source)[0]] == expected


def test_a_float_that_is_no_whole_number_is_no_id(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": [1, 2], "text": ["t", "u"]})
    floats = pa.array([3.0, 1.5, float("nan"), 2.0**53, None])
    write(tmp_path / "b.parquet", {"id": floats, "text": list("vwxyz")})

    documents, letters = read(open_source(tmp_path))

    assert [document.doc_id for document in documents] == ["1", "2", "3"]
    assert [letter.reason for letter in letters] == ["invalid_id"] * 3 + ["null_id"]


def test_a_field_within_others_is_named_by_its_path(tmp_path: Path) -> None:
    docs = [{"key": "a", "body": {"text": "t"}}, {"key": "b", "body": None}, None]
    write(
        tmp_path / "one.parquet",
        {"doc": docs, "doc.key": ["x", "y", "z"], "n": [{"a.b": 1}, {"a.b": 2}, None]},
    )
    source = open_source(
        tmp_path, "n.a.b as n", id_column="doc.key", text_columns=("doc.body.text",)
    )

    (document,), letters = read(source)

    # A column of exactly that name comes before a field.
    assert (document.doc_id, document.text, document.carried) == ("x", "t", (1,))
    assert [letter.reason for letter in letters] == ["null_text", "null_text"]
    with pytest.raises(ConfigurationError, match="struct") as caught:
        open_source(tmp_path, id_column="doc.key", text_columns=("doc",))
    assert "doc.key, doc.body" in (caught.value.remedy or "")


def test_a_repeated_text_within_others_is_read_once(tmp_path: Path) -> None:
    docs = [{"body": "the same text " * 1000} for _ in range(3000)]
    write(tmp_path / "one.parquet", {"id": list(range(3000)), "doc": docs})

    documents, _ = read(open_source(tmp_path, text_columns=("doc.body",)))

    assert [document.text for document in documents] == [doc["body"] for doc in docs]


def test_a_name_in_other_letters_is_taken_where_it_can_be_one_column_only(tmp_path: Path) -> None:
    write(tmp_path / "one.parquet", {"ID": ["a"], "Text": ["t"], "LANG": ["de"]})
    source = open_source(tmp_path, "lang")

    assert source.take_notices() == [
        "id_column: id is the column ID",
        "text_column: text is the column Text",
        "carry: lang is the column LANG",
    ]
    assert [document.carried for document in read(source)[0]] == [("de",)]
    write(tmp_path / "one.parquet", {"ID": ["a"], "Id": ["b"], "text": ["t"]})
    with pytest.raises(ConfigurationError, match="several columns 'id'"):
        open_source(tmp_path)


def test_what_folders_are_called_is_a_column(tmp_path: Path) -> None:
    for name in ("lang=de/day=3", "lang=a%2Fb/day=03", "lang=__HIVE_DEFAULT_PARTITION__/day=x"):
        write(tmp_path / name / "one.parquet", {"text": ["t"]})
    source = open_source(tmp_path, "lang", id_column="day")

    documents, _ = read(source)

    assert [(d.doc_id, d.carried) for d in documents] == [("x", ("",)), ("03", ("a/b",)),
                                                         ("3", ("de",))]  # fmt: skip
    assert "carry: lang is what the folders' names (lang=…) say" in source.take_notices()
    with pytest.raises(ConfigurationError, match="text_column"):
        open_source(tmp_path, id_column="day", text_columns=("lang",))


def test_a_carried_column_that_a_file_lacks_is_null_there(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": ["a"], "text": ["t"]})
    write(tmp_path / "b.parquet", {"id": ["b"], "text": ["u"], "n": [3]})
    source = open_source(tmp_path, "n")

    assert [document.carried for document in read(source)[0]] == [(0,), (3,)]
    lacking, nulls = source.take_notices()
    assert "1 of 2 files, such as" in lacking
    assert nulls == "carry: n is null in 1 row, where the collection holds 0"
    with pytest.raises(ConfigurationError, match=r"id_column: .*a\.parquet has no"):
        open_source(tmp_path, id_column="n")
    with pytest.raises(ConfigurationError, match=r"text_column: .*a\.parquet has no"):
        open_source(tmp_path, text_columns=("n",))


def test_integers_and_floats_of_one_column_meet_where_they_are_the_same(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": ["a", "b"], "text": ["t", "u"], "n": [1, 2**53 + 1]})
    write(tmp_path / "b.parquet", {"id": ["c", "d"], "text": ["v", "w"], "n": [2.5, None]})
    source = open_source(tmp_path, "n")

    documents, (letter,) = read(source)

    assert source.carried_columns == (CarriedColumn(name="n", type="number"),)
    assert [(d.doc_id, d.carried) for d in documents] == [("a", (1.0,)), ("c", (2.5,)),
                                                         ("d", (0.0,))]  # fmt: skip
    assert all(isinstance(document.carried[0], float) for document in documents)
    assert (letter.doc_id, letter.reason) == ("b", "invalid_carried")

    source.adopt_types([CarriedColumn(name="n", type="integer")])
    documents, (letter,) = read(source)

    assert [(d.doc_id, d.carried) for d in documents] == [("a", (1,)), ("b", (2**53 + 1,)),
                                                         ("d", (0,))]  # fmt: skip
    assert all(isinstance(document.carried[0], int) for document in documents)
    assert (letter.doc_id, letter.reason) == ("c", "invalid_carried")


def test_decimals_and_uuids_are_carried_as_what_holds_them_exactly(tmp_path: Path) -> None:
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUIDS[0].bytes], pa.binary(16)))
    columns = {
        "id": ["a"],
        "text": ["t"],
        "count": pa.array([Decimal(10**17)], pa.decimal128(18, 0)),
        "price": pa.array([Decimal("0.07")], pa.decimal128(15, 2)),
        "guid": uuids,
        "long": pa.array([Decimal("0.07")], pa.decimal128(16, 2)),
    }
    write(tmp_path / "one.parquet", columns)

    (document,), _ = read(open_source(tmp_path, "count", "price", "guid"))

    assert document.carried == (10**17, 0.07, str(UUIDS[0]))
    with pytest.raises(ConfigurationError, match=r"'long' .* is decimal"):
        open_source(tmp_path, "long")


def test_a_column_is_carried_under_another_name(tmp_path: Path) -> None:
    write(tmp_path / "one.parquet", {"id": ["a"], "text": ["t"], "created at": ["now"]})
    source = open_source(tmp_path, "created at as created_at", "id as id", "text as body")

    assert [column.name for column in source.carried_columns] == ["created_at", "id", "body"]
    assert [document.carried for document in read(source)[0]] == [("now", "a", "t")]
    with pytest.raises(ConfigurationError, match="no column 'made at'"):
        open_source(tmp_path, "made at as made_at")


def test_ids_are_made_of_texts_or_places(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"text": ["t", "", "u"]}, row_group_size=2)
    write(tmp_path / "b.parquet", {"text": ["t"]})

    documents, (letter,) = read(open_source(tmp_path, id_from="place"))

    assert [document.doc_id for document in documents] == ["a.parquet#0", "a.parquet#2",
                                                           "b.parquet#0"]  # fmt: skip
    assert (letter.reason, letter.doc_id) == ("empty_text", "a.parquet#1")

    documents, (letter,) = read(open_source(tmp_path, id_from="text"))

    assert [document.doc_id for document in documents] == [d.doc_hash for d in documents]
    assert documents[0].doc_id == documents[2].doc_id
    assert letter.reason == "empty_text"
    with pytest.raises(ConfigurationError, match="no column 'id'") as caught:
        open_source(tmp_path)
    assert 'id_from = "text"' in (caught.value.remedy or "")


def test_a_file_that_git_lfs_has_not_fetched_is_named_as_such(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123456\n"
    (tmp_path / "one.parquet").write_text(pointer)

    with pytest.raises(ConfigurationError, match="is a pointer of Git LFS"):
        open_source(tmp_path)
