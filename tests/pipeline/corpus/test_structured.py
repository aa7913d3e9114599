"""Lists and structs in carried columns: read exactly, or a dead letter that says why."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_index.pipeline.corpus.parquet import ParquetSource
from embed_index.pipeline.corpus.source import RowBatch
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.errors import ConfigurationError


def open_source(folder: Path, values: pa.Array, **options: Any) -> ParquetSource:
    columns = {
        "id": [str(place) for place in range(len(values))],
        "text": ["some text"] * len(values),
        "extra": values,
    }
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return ParquetSource(
        (str(folder),), id_column="id", text_columns=("text",), carry=("extra",), **options
    )


def read(source: ParquetSource) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what each document carries, and why the others are dead letters."""
    batches: list[RowBatch] = list(source.read())
    carried = {
        batch.document(place).doc_id: batch.carried[place][0]
        for batch in batches
        for place in range(len(batch))
    }
    letters = [letter for batch in batches for letter in batch.dead_letters]
    return carried, {str(x.doc_id): f"{x.reason}: {x.detail}" for x in letters}


STRUCT = pa.struct({"b": pa.list_(pa.float64()), "a": pa.string(), "n": pa.uint64()})


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pa.array([["ä", ""], [], None]), "list", ['["ä",""]', "[]", None]),
        (pa.array([["x"]], pa.large_list(pa.string_view())), "list", ['["x"]']),
        (pa.array([["x", "y"]], pa.list_(pa.string(), 2)), "list", ['["x","y"]']),
        (
            pa.array([["x", "x"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
            "list",
            ['["x","x"]'],
        ),
        (pa.array([[1, None]]), "json", ["[1,null]"]),
        (
            pa.array([{"b": [1.5, -0.0], "a": 'q"\n', "n": 2**64 - 1}, None], STRUCT),
            "json",
            ['{"a":"q\\"\\n","b":[1.5,-0.0],"n":18446744073709551615}', None],
        ),
        (
            pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "json",
            ['{"k":1}'],
        ),
        (pa.array(['{ "b": 1, "a": [true] }'], pa.json_()), "json", ['{"a":[true],"b":1}']),
    ],
    ids=str,
)
def test_what_has_parts_is_one_text_whose_parts_come_back(
    tmp_path: Path, values: pa.Array, kind: Any, expected: list[Any]
) -> None:
    source = open_source(tmp_path, values)
    source.store_as([CarriedColumn(name="extra", type=kind, nullable=True)])

    carried, letters = read(source)

    assert [column.type for column in source.carried_columns] == [kind]
    assert (list(carried.values()), letters) == (expected, {})


BAD_UTF8 = pa.Array.from_buffers(
    pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (pa.array([["a", None]]), "invalid_carried: The column 'extra' holds null in a list"),
        (pa.array([["a"] * 4097]), "invalid_carried: .* holds a list of 4,097 strings; .* 4,096"),
        (pa.array([["漢" * 21_845]]), "long_carried: .* is longer than 65535 bytes"),
        (pa.array([{"x": float("nan")}]), "invalid_carried: .* holds NaN, infinity"),
        (pa.ListArray.from_arrays([0, 1], BAD_UTF8), "invalid_carried: .* is not valid UTF-8"),
        (
            pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64())),
            "invalid_carried: .* holds a key twice",
        ),
        (pa.array(["{"], pa.json_()), "invalid_carried: .* is not valid JSON"),
        (pa.array(["5"], pa.json_()), "invalid_carried: .* is a single value"),
        (pa.array(['{"a": 1, "a": 2}'], pa.json_()), "invalid_carried: .* holds a key twice"),
        (pa.array(["[NaN]"], pa.json_()), "invalid_carried: .* holds NaN"),
        (pa.array(['["\\ud800"]'], pa.json_()), "invalid_carried: .* what is no Unicode"),
        (pa.array(["[" * 100_000], pa.json_()), "invalid_carried"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.type),
)
def test_what_milvus_could_not_give_back_is_a_dead_letter_and_others_go_on(
    tmp_path: Path, values: pa.Array, why: str
) -> None:
    good = pa.nulls(1, values.type)
    source = open_source(tmp_path, pa.concat_arrays([values, good]))

    carried, letters = read(source)

    assert list(carried) == ["1"]
    assert re.match(why, letters["0"])


def test_json_beside_plain_text_in_another_file_is_text(tmp_path: Path) -> None:
    raw = '{ "b": 1 }'
    open_source(tmp_path, pa.array([raw]))
    (tmp_path / "a.parquet").rename(tmp_path / "b.parquet")
    source = open_source(tmp_path, pa.array([raw], pa.json_()))

    carried, letters = read(source)

    assert [column.type for column in source.carried_columns] == ["text"]
    assert set(carried.values()) == {raw}
    # Both files have the same id.
    assert not letters


def test_a_struct_beside_text_is_refused(tmp_path: Path) -> None:
    open_source(tmp_path, pa.array(["x"]))
    (tmp_path / "a.parquet").rename(tmp_path / "b.parquet")

    with pytest.raises(ConfigurationError, match=r"'extra' is text in .* but json in"):
        open_source(tmp_path, pa.array([{"x": 1}]))


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.binary()),
        pa.struct({"at": pa.timestamp("us")}),
        pa.map_(pa.int32(), pa.int32()),
        pa.struct([("a", pa.int8()), ("a", pa.int8())]),
    ],
    ids=str,
)
def test_parts_that_json_does_not_say_exactly_are_refused(
    tmp_path: Path, kind: pa.DataType
) -> None:
    with pytest.raises(ConfigurationError, match="which a collection cannot carry") as refused:
        open_source(tmp_path, pa.nulls(1, kind))
    assert "lists and structs of text, numbers and booleans" in str(refused.value.remedy)


def test_a_condition_does_not_compare_what_has_parts(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"where: 'extra' .* is list"):
        open_source(tmp_path, pa.array([["x"]]), where="extra == 'x'")


def test_rows_that_differ_in_a_part_are_told_apart(tmp_path: Path) -> None:
    values = [["a"], ["a", ""], ["a", "b"], [], None]
    source = open_source(tmp_path, pa.array(values))
    source.store_as([CarriedColumn(name="extra", type="list", nullable=True)])

    (batch,) = source.read()

    assert len(set(batch.carried_hashes)) == len(values)
    *_, words = batch.words()
    assert len({row.tobytes() for row in words}) == len(values)
