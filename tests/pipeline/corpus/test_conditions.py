"""A condition says which rows are read; the others are neither indexed nor missing."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_index.pipeline.corpus.conditions import Condition
from embed_index.pipeline.corpus.parquet import ParquetSource
from embed_index.schemas.errors import ConfigurationError

COLUMNS: dict[str, pa.Array] = {
    "lang": pa.array(["de", "en", None, "fr"]),
    "kind": pa.array(["a", "b", "a", None]).dictionary_encode(),
    "year": pa.array([2023, 2024, 2025, None]),
    "score": pa.array([0.5, None, 2.0, -1.0]),
    "is_open": pa.array([True, False, None, True]),
    "day": pa.array([date(2024, 1, 1), date(2024, 6, 1), None, date(2023, 1, 1)]),
    "at": pa.array(
        [datetime(2024, 1, 1, 12, tzinfo=UTC), None, datetime(2025, 1, 1, tzinfo=UTC), None],
        pa.timestamp("us", "Europe/Berlin"),
    ),
    "view": pa.array(["x", "y", None, "z"], pa.string_view()),
    "doc.lang": pa.array(["de", None, "en", "de"]),
    "made at": pa.array([1, 2, 3, 4]),
    "nothing": pa.nulls(4),
}


def met(text: str) -> list[int]:
    condition = Condition(text)
    mask = condition.mask({name: COLUMNS.get(name, pa.nulls(4)) for name in condition.names})
    return [row for row, is_met in enumerate(mask.to_pylist()) if is_met]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("lang == 'de'", [0]),
        ("lang != 'de'", [1, 3]),
        ("not lang == 'de'", [1, 3]),
        ("lang == 'de' or year >= 2024", [0, 1, 2]),
        ("lang == 'en' and year >= 2024", [1]),
        ("2023 < year <= 2025", [1, 2]),
        ("2024 <= year", [1, 2]),
        ("lang in ('de', 'fr')", [0, 3]),
        ("lang not in ['de']", [1, 3]),
        ("lang is None", [2]),
        ("lang is not None and is_open", [0, 3]),
        ("lang == None", [2]),
        ("not is_open", [1]),
        ("score > -2 and score < 1.5", [0, 3]),
        ("year > 2023.5", [1, 2]),
        ("kind == 'a'", [0, 2]),
        ("kind in ('a', 'c')", [0, 2]),
        ("day >= '2024-01-01'", [0, 1]),
        ("at > '2024-06-01'", [2]),
        ("at == '2024-01-01T12:00:00Z'", [0]),
        ("at == '2024-01-01T13:00:00+01:00'", [0]),
        ("view == 'y'", [1]),
        ("doc.lang == 'de'", [0, 3]),
        ("doc.lang == lang", [0]),
        ("col('made at') > 3", [3]),
        ("nothing == 'x' or nothing is None", [0, 1, 2, 3]),
    ],
)
def test_rows_that_meet_a_condition(text: str, rows: list[int]) -> None:
    assert met(text) == rows


@pytest.mark.parametrize(
    "text",
    [
        *(
            "lang ==",
            "1 == 1",
            "lang == de()",
            "lang == 'de' + 'x'",
            "lang",
            "year and lang == 'de'",
        ),
        *("lang == 3", "year == 'x'", "lang in 'de'", "lang in ('de', None)", "lang is 'de'"),
        *("year in ('x',)", "lambda: lang", "lang == ('a', 'b')", "'a' in lang", "at > 'soon'"),
        *("__import__('os').system('x') == 0", "col(lang) == 1", "(" * 500 + "lang" + ")" * 500),
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"where: "):
        met(text)


def write(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def open_source(folder: Path, where: str, **more: Any) -> ParquetSource:
    return ParquetSource([str(folder)], id_column="id", text_columns=("text",), where=where, **more)


def test_rows_are_left_out_with_their_ids_whatever_else_is_wrong_with_them(tmp_path: Path) -> None:
    ids = ["a", "b", None, "d", "e"]
    texts = ["t", None, "v", "w", None]
    write(tmp_path / "lang=de" / "one.parquet", {"id": ids, "text": texts, "n": [1, 2, 3, 4, 5]})
    write(tmp_path / "lang=en" / "two.parquet", {"id": ["x"], "text": ["t"], "n": [1]})
    source = open_source(tmp_path, "lang == 'de' and (n < 2 or n > 4)", carry=("n",))

    rows, others = source.read()

    assert (list(rows.doc_ids), list(rows.carried)) == (["a"], [(1,)])
    assert [(letter.doc_id, letter.reason) for letter in rows.dead_letters] == [("e", "null_text")]
    assert rows.ids_left_out == ["b", "d"]
    assert (len(others), others.ids_left_out, others.dead_letters) == (0, ["x"], ())
    assert "where: left out 4 rows; none is missing" in source.take_notices()


def test_a_condition_on_what_no_file_has_or_what_is_of_another_type_is_refused_at_once(
    tmp_path: Path,
) -> None:
    write(tmp_path / "a.parquet", {"id": ["a"], "text": ["t"], "n": [1]})
    write(tmp_path / "b.parquet", {"id": ["b"], "text": ["t"], "m": [1]})

    with pytest.raises(ConfigurationError, match="no column 'lang'"):
        open_source(tmp_path, "lang == 'de'")
    with pytest.raises(ConfigurationError, match="n is int64, and cannot be compared so"):
        open_source(tmp_path, "n == 'one'")
    batches = open_source(tmp_path, "n is None").read()
    assert [doc_id for rows in batches for doc_id in rows.doc_ids] == ["b"]


@pytest.mark.parametrize(
    ("where", "is_whole"),
    [("n > 3", False), ("lang == 'en'", False), ("n > 2", True), ("lang == 'de'", True)],
)
@pytest.mark.parametrize("more", [{}, {"id_from": "place"}])
def test_texts_of_row_groups_that_are_left_out_are_not_even_read(
    tmp_path: Path, where: str, is_whole: bool, more: dict[str, Any]
) -> None:
    file = tmp_path / "lang=de" / "one.parquet"
    file.parent.mkdir()
    columns = {
        "id": ["a", "b", "c"],
        "n": [1, 2, 3],
        "text": [f"The text number {n}." for n in "abc"],
    }
    pq.write_table(pa.table(columns), file, row_group_size=3, use_dictionary=False,
                   compression="none", write_page_checksum=True)  # fmt: skip
    file.write_bytes(file.read_bytes().replace(b"The text number b.", b"The text number X."))
    source = open_source(tmp_path, where, carry=("n",), **more)

    if is_whole:
        with pytest.raises(ConfigurationError, match="CRC checksum"):
            list(source.read())
        return
    (rows,) = source.read()
    assert (len(rows), rows.num_left_out, len(rows.ids_left_out)) == (0, 3, 3)
