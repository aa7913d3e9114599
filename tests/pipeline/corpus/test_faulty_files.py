"""Files that are not what they were, or what they say: right, a dead letter, or an error."""

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_index.pipeline.corpus.batching import MAX_BATCH_ROWS
from embed_index.pipeline.corpus.parquet import ParquetSource
from embed_index.pipeline.corpus.source import RowBatch
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.stages.comparison import CorpusPass
from embed_index.pipeline.stages.file_memory import FileMemory
from embed_index.pipeline.stages.tally import RunTally
from embed_index.schemas.errors import ConfigurationError, UnavailableError
from embed_index.schemas.records import CarriedValue, FileRecord


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def some_rows(count: int = 3, prefix: str = "") -> dict[str, Any]:
    ids = [f"{prefix}{number}" for number in range(count)]
    return {"id": ids, "text": [f"the text of {doc_id}" for doc_id in ids]}


def open_source(*inputs: Path, carry: tuple[str, ...] = ()) -> ParquetSource:
    return ParquetSource(
        [str(p) for p in inputs], id_column="id", text_columns=("text",), carry=carry
    )


def carried(source: ParquetSource) -> list[tuple[CarriedValue, ...]]:
    return [values for batch in source.read() for values in batch.carried]


def reasons(source: ParquetSource) -> list[str]:
    return [letter.reason for batch in source.read() for letter in batch.dead_letters]


def test_a_flipped_byte_under_a_checksum_is_found(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.parquet",
        some_rows(),
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    content = file.read_bytes()
    assert content.count(b"the text of 1") >= 1
    file.write_bytes(content.replace(b"the text of 1", b"the test of 1", 1))

    with pytest.raises(ConfigurationError, match="CRC checksum verification failed"):
        list(open_source(file).read())


def test_a_bad_file_may_be_left_out_as_a_dead_letter(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", some_rows(0))
    write(tmp_path / "b.parquet", {"id": ["x"], "body": ["the text of x"]})
    source = ParquetSource(
        [str(tmp_path)], id_column="id", text_columns=("text",), skip_bad_files=True
    )

    first = [letter for rows in source.read() for letter in rows.dead_letters]
    notices = source.take_notices()
    again = [letter for rows in source.read() for letter in rows.dead_letters]
    write(tmp_path / "b.parquet", some_rows(2))
    mended = [doc_id for rows in source.read() for doc_id in rows.doc_ids]

    (letter,) = first
    assert (str(letter.source), letter.reason) == ("b.parquet", "bad_file")
    assert "has no column 'text'" in letter.detail
    assert first == again
    assert len(notices) == 1
    assert source.take_notices() == []
    assert mended == ["0", "1"]
    assert not any(rows.dead_letters for rows in source.read())


def test_a_footer_whose_row_groups_name_other_columns_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", some_rows())
    content = bytearray(file.read_bytes())
    # A list of one string in Thrift's compact protocol: the path of a column chunk.
    content[content.index(b"\x19\x18\x04text") + 3] = 0xA1
    source = open_source(file)
    file.write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"cannot be read at row group 0.*'utf-8' codec"):
        list(source.read())


def test_a_footer_whose_row_groups_lack_rows_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", some_rows())
    # In Thrift: three rows, then a list of one row group.
    before, sep, after = file.read_bytes().rpartition(b"\x16\x06\x19\x1c")
    file.write_bytes(before + sep.replace(b"\x06", b"\x08") + after)
    source = open_source(tmp_path)

    assert source.num_rows == 4
    with pytest.raises(ConfigurationError, match="has 3 rows in its row groups, and should have 4"):
        list(source.read())


def test_a_file_that_changes_is_not_left_out(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", some_rows(4096))
    source = ParquetSource(
        [str(tmp_path)], id_column="id", text_columns=("text",), skip_bad_files=True
    )
    batches = source.read()
    next(batches)
    write(file, some_rows(9, prefix="longer"))

    with pytest.raises(UnavailableError, match="was changed or taken away"):
        list(batches)


def test_int96_is_read_beyond_the_years_of_nanoseconds(tmp_path: Path) -> None:
    moments = [
        datetime(9999, 12, 31, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
    ]
    columns = some_rows() | {"at": pa.array(moments, pa.timestamp("us"))}
    write(tmp_path / "a.parquet", columns, use_deprecated_int96_timestamps=True)

    assert carried(open_source(tmp_path, carry=("at",))) == [
        ("9999-12-31T00:00:00.000000",),
        ("0001-01-01T00:00:00.000000",),
        ("2024-05-06T07:08:09.123456",),
    ]


@pytest.mark.parametrize(
    ("kind", "value", "options"),
    [
        (pa.timestamp("us"), 10**18, {"use_deprecated_int96_timestamps": True}),
        (pa.timestamp("us", "Europe/Berlin"), 253_402_300_800_000_000, {}),
        (pa.timestamp("ms"), -(10**15), {}),
        (pa.date32(), 10**8, {}),
    ],
    ids=str,
)
def test_a_time_that_text_cannot_say_is_a_dead_letter(
    tmp_path: Path, kind: pa.DataType, value: int, options: dict[str, Any]
) -> None:
    number = pa.array([value], pa.int32() if kind == pa.date32() else pa.int64())
    write(tmp_path / "a.parquet", some_rows(1) | {"at": number.view(kind)}, **options)

    assert reasons(open_source(tmp_path, carry=("at",))) == ["invalid_carried"]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (pa.timestamp("ns", "America/New_York"), -1_000, "1969-12-31T23:59:59.999999Z"),
        (pa.timestamp("ns"), 2**63 - 1, "2262-04-11T23:47:16.854775"),
        (pa.timestamp("ms", "+05:30"), 253_402_300_799_999, "9999-12-31T23:59:59.999000Z"),
        (pa.date32(), 2_932_896, "9999-12-31"),
    ],
    ids=str,
)
def test_the_first_and_last_moments_are_right(
    tmp_path: Path, kind: pa.DataType, value: int, text: str
) -> None:
    number = pa.array([value], pa.int32() if kind == pa.date32() else pa.int64())
    write(tmp_path / "a.parquet", some_rows(1) | {"at": number.view(kind)})

    assert carried(open_source(tmp_path, carry=("at",))) == [(text,)]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int64(), [-(2**63), 2**63 - 1, 0]),
        (pa.uint32(), [2**32 - 1, 0, 1]),
        (pa.float16(), [65504.0, -0.5, 2.0**-24]),
    ],
    ids=str,
)
def test_numbers_are_carried_as_they_are(
    tmp_path: Path, kind: pa.DataType, values: list[Any]
) -> None:
    write(tmp_path / "a.parquet", some_rows() | {"n": pa.array(values, kind)})

    assert carried(open_source(tmp_path, carry=("n",))) == [(value,) for value in values]


@pytest.mark.parametrize(
    "kind", [pa.uint64(), pa.decimal128(20, 2), pa.duration("s"), pa.time64("us")], ids=str
)
def test_numbers_that_no_field_holds_are_refused(tmp_path: Path, kind: pa.DataType) -> None:
    write(tmp_path / "a.parquet", some_rows() | {"n": pa.nulls(3, kind)})

    with pytest.raises(ConfigurationError, match="which a collection cannot carry"):
        open_source(tmp_path, carry=("n",))


def test_nulls_are_told_once_for_each_column(tmp_path: Path) -> None:
    extra = {"n": [1, None, None], "day": [None, date(2024, 5, 6), None], "full": [1.0, 2.0, 3.0]}
    write(tmp_path / "a.parquet", some_rows() | extra)
    source = open_source(tmp_path, carry=tuple(extra))

    assert source.take_notices() == []
    assert carried(source)[1:] == [(0, "2024-05-06", 2.0), (0, "", 3.0)]
    carried(source)
    assert source.take_notices() == [
        "carry: n is null in 2 rows, where the collection holds 0",
        "carry: day is null in 2 rows, where the collection holds ''",
    ]
    assert source.take_notices() == []


def test_a_column_without_a_value_in_one_file_has_the_type_of_the_others(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", some_rows(1) | {"n": pa.nulls(1), "m": pa.nulls(1)})
    write(tmp_path / "b.parquet", some_rows(1, "b") | {"n": [7], "m": pa.nulls(1)})
    write(
        tmp_path / "c.parquet", {"id": pa.nulls(2), "text": pa.nulls(2), "n": [1, 2], "m": [0, 1]}
    )
    source = open_source(tmp_path, carry=("n", "m"))

    assert [column.type for column in source.carried_columns] == ["integer", "integer"]
    assert carried(source) == [(0, 0), (7, 0)]
    assert reasons(source) == ["null_id", "null_id"]


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", some_rows())
    write(tmp_path / ".b.parquet", some_rows())

    (notice,) = open_source(tmp_path).take_notices()

    assert "begin with '_' or '.': 1," in notice
    assert ".b.parquet" in notice


FULL = MAX_BATCH_ROWS
"""So many rows are not put together with those of other row groups and files."""


def first_of(source: ParquetSource) -> tuple[RowBatch, Iterator[RowBatch]]:
    batches = source.read()
    return next(batches), batches


@pytest.mark.parametrize("change", ["replaced", "appended", "removed"])
def test_a_file_that_changes_while_it_is_read_ends_the_reading(tmp_path: Path, change: str) -> None:
    file = write(tmp_path / "a.parquet", some_rows(3 * FULL), row_group_size=FULL)
    first, batches = first_of(open_source(file))
    if change == "replaced":
        write(tmp_path / "new", some_rows(9)).rename(file)
    elif change == "appended":
        write(tmp_path / "a.parquet", some_rows(2, "other"))
    else:
        file.unlink()

    assert first.doc_ids == [str(number) for number in range(FULL)]
    with pytest.raises(UnavailableError, match=r"a\.parquet was changed or taken away"):
        list(batches)


@pytest.mark.parametrize(
    ("columns", "error", "match"),
    [
        ({"id": ["x"], "body": ["y"]}, ConfigurationError, "b.parquet has no column 'text'"),
        (some_rows() | {"n": ["one"] * 3}, ConfigurationError, "'n' is text in .*b.parquet"),
        (None, UnavailableError, "b.parquet was changed or taken away"),
    ],
)
def test_a_file_that_changes_before_it_is_read_is_looked_at_again(
    tmp_path: Path,
    columns: dict[str, Any] | None,
    error: type[Exception],
    match: str,
) -> None:
    write(tmp_path / "a.parquet", some_rows(FULL) | {"n": range(FULL)})
    second = write(tmp_path / "b.parquet", some_rows(3, "b") | {"n": [1, 2, 3]})
    _, batches = first_of(open_source(tmp_path, carry=("n",)))
    second.unlink()
    if columns is not None:
        write(second, columns)

    with pytest.raises(error, match=match):
        list(batches)


def test_rows_of_a_file_replaced_before_it_is_read_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", some_rows(FULL))
    second = write(tmp_path / "b.parquet", some_rows(3, "b"))
    _, batches = first_of(open_source(tmp_path))
    write(second, some_rows(5, "c"))

    (rest,) = batches
    assert rest.doc_ids == [f"c{number}" for number in range(5)]


def test_an_encrypted_footer_and_a_bad_schema_are_said_to_be_that(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", some_rows())
    file.write_bytes(file.read_bytes()[:-4] + b"PARE")

    with pytest.raises(ConfigurationError, match="encrypted metadata") as caught:
        open_source(file)
    assert "decrypted here" in caught.value.remedy
    assert 'on_bad_file = "skip"' in caught.value.remedy


def test_a_file_that_may_not_be_read_is_not_to_be_written_again(as_nobody: Path) -> None:
    file = write(as_nobody / "a.parquet", some_rows())
    file.chmod(0o000)

    with pytest.raises(ConfigurationError, match="may not be read by this user") as caught:
        open_source(file)
    assert "chmod" in caught.value.remedy


def test_a_known_file_that_may_no_longer_be_read_is_named_and_can_be_skipped(
    as_nobody: Path,
) -> None:
    write(as_nobody / "a.parquet", some_rows(prefix="a"))
    file = write(as_nobody / "b.parquet", some_rows(prefix="b"))
    record = FileRecord(
        name="b.parquet",
        num_bytes=file.stat().st_size,
        modified_ns=file.stat().st_mtime_ns,
        digest=None,
        num_rows=3,
        schema=pq.read_schema(file).serialize().to_pybytes(),
    )
    file.chmod(0o000)

    def read(ledger: Ledger, *, skip: bool) -> list[RowBatch]:
        source = ParquetSource(
            [str(as_nobody)],
            id_column="id",
            text_columns=("text",),
            skip_bad_files=skip,
            known_files={record.name: record},
        )
        documents = ledger.documents("docs_v1", collection_id="first")
        corpus_pass = CorpusPass(documents)
        stopping = threading.Event()
        memory = FileMemory(documents, corpus_pass=corpus_pass, tally=RunTally(), stopping=stopping)
        return list(source.read(memory))

    with Ledger(as_nobody / "docs.ledger") as ledger:
        batches = read(ledger, skip=True)
        with pytest.raises(ConfigurationError, match=r"b\.parquet may not be read by this user"):
            read(ledger, skip=False)
    letters = [letter for batch in batches for letter in batch.dead_letters]
    assert [(letter.source.path, letter.reason) for letter in letters] == [
        ("b.parquet", "bad_file")
    ]
    assert [doc_id for batch in batches for doc_id in batch.doc_ids] == ["a0", "a1", "a2"]


def test_a_carried_column_that_is_not_there_is_to_be_taken_out_of_carry(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", some_rows())

    with pytest.raises(ConfigurationError, match="no column 'lang'") as caught:
        open_source(file, carry=("lang",))
    assert "leave 'lang' out of it" in caught.value.remedy


def test_several_texts_in_one_name_are_told_apart_by_the_remedy(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", some_rows())

    with pytest.raises(ConfigurationError, match="no column 'text,id'") as caught:
        ParquetSource([str(file)], id_column="id", text_columns=("text,id",))
    assert "by a --text-column of its own" in caught.value.remedy


def test_a_file_without_columns_is_said_to_have_none(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {})

    with pytest.raises(ConfigurationError, match="no column 'id'") as caught:
        open_source(file)
    assert caught.value.remedy.startswith("It has no columns. Set id_column to one.")


def test_moments_keep_their_zone_and_local_times_have_none(tmp_path: Path) -> None:
    moment = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    columns = some_rows(1) | {
        "zoned": pa.array([moment], pa.timestamp("ms", "Europe/Berlin")),
        "local": pa.array([moment.replace(tzinfo=None)], pa.timestamp("ms")),
    }
    write(tmp_path / "a.parquet", columns)

    assert carried(open_source(tmp_path, carry=("zoned", "local"))) == [
        ("2024-05-06T07:08:09.000000Z", "2024-05-06T07:08:09.000000")
    ]
