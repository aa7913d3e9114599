"""Columns give what a look at each row by itself gives, however Arrow holds them."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embed_index.pipeline.corpus.conversion import RowConversion
from embed_index.pipeline.corpus.row_checks import BadRowError, check_carried, check_id, check_text
from embed_index.pipeline.corpus.source import RowBatch, RowPlaces
from embed_index.pipeline.corpus.text_column import TextColumn
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.ids import carried_hash, text_hash
from embed_index.schemas.records import CarriedValue, DeadLetter, Document, SourceRow

CARRIED = (CarriedColumn(name="note", type="text"), CarriedColumn(name="score", type="number"))
CONVERSION = RowConversion(carried_columns=CARRIED)
FIRST_ROW = 7

SPACES = [chr(point) for point in range(sys.maxunicode + 1) if chr(point).isspace()]
STRANGE = [
    *("", " ", "\x00", "a\x00b", "a\nb", "\x7f", "a\x80", "é" * 256, "é" * 257, "x" * 9000),
    *("\u2028", "\x1c\x85\u3000", " a ", "\u200b", "\ufeff", "語" * 20, "😀"),
]
INVALID = [b"\xed\xa0\x80", b"\xff", b"a\xc3", b"\xc0\x80", b"\xf5\x80\x80\x80", b" \xa0"]

cells = st.one_of(
    st.none(),
    st.sampled_from(INVALID),
    st.sampled_from(STRANGE).map(str.encode),
    st.text(st.sampled_from("ab é語\x00\t"), max_size=5).map(str.encode),
    st.text(max_size=30).map(str.encode),
)
rows = st.lists(
    st.tuples(cells, cells, cells, st.one_of(st.none(), st.floats(width=32))), max_size=12
)


def strings(kind: pa.DataType, binary: pa.DataType) -> Callable[[Sequence[bytes | None]], pa.Array]:
    return lambda values: pa.array(values, binary).view(kind)


def with_bytes_below_nulls(values: Sequence[bytes | None]) -> pa.Array:
    filled = pa.array([b"\xff\x00" if value is None else value for value in values], pa.binary())
    is_valid = pa.array([value is not None for value in values], pa.bool_())
    _, bounds, content = filled.buffers()
    bitmap = is_valid.buffers()[1]
    return pa.Array.from_buffers(pa.string(), len(values), [bitmap, bounds, content])


def as_dictionary(values: Sequence[bytes | None]) -> pa.Array:
    encoded = pa.array(values, pa.binary()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, encoded.dictionary.view(pa.string()))


def in_the_middle(values: Sequence[bytes | None]) -> pa.Array:
    around = [b"before", b"\xff", *values, b"after", None]
    return pa.array(around, pa.binary()).view(pa.string()).slice(2, len(values))


LAYOUTS: dict[str, Callable[[Sequence[bytes | None]], pa.Array]] = {
    "string": strings(pa.string(), pa.binary()),
    "large_string": strings(pa.large_string(), pa.large_binary()),
    "string_view": strings(pa.string_view(), pa.binary_view()),
    "bytes below nulls": with_bytes_below_nulls,
    "dictionary": as_dictionary,
    "slice": in_the_middle,
}


def decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def one_by_one(
    rows: Sequence[tuple[bytes | None, bytes | None, bytes | None, float | None]],
) -> tuple[list[Document], list[DeadLetter]]:
    documents, letters = [], []
    for place, (raw_id, raw_text, *raw_carried) in enumerate(rows):
        source = SourceRow(path="f.parquet", row_group=3, row=FIRST_ROW + place)
        text = decoded(raw_text)
        values = [decoded(x) if isinstance(x, bytes) else x for x in raw_carried]
        doc_id: str | None = None
        try:
            doc_id = check_id(decoded(raw_id))
            check_text(text)
            carried: tuple[CarriedValue, ...] = tuple(map(check_carried, CARRIED, values))
        except BadRowError as bad:
            letters.append(
                DeadLetter(
                    source=source, stage="read", reason=bad.reason, detail=bad.detail, doc_id=doc_id
                )
            )
        else:
            assert isinstance(text, str)
            documents.append(
                Document(
                    doc_id=doc_id,
                    text=text,
                    carried=carried,
                    source=source,
                    doc_hash=text_hash(text),
                )
            )
    return documents, letters


def convert(**columns: pa.Array) -> RowBatch:
    batch = pa.RecordBatch.from_pydict(columns)
    first = SourceRow(path="f.parquet", row_group=3, row=FIRST_ROW)
    return CONVERSION.convert(batch, RowPlaces.of_spans([(first, batch.num_rows)]))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@given(rows=rows)
@example(rows=[])
def test_columns_give_the_documents_and_dead_letters_of_their_rows(
    layout: Callable[[Sequence[bytes | None]], pa.Array],
    rows: list[tuple[bytes | None, bytes | None, bytes | None, float | None]],
) -> None:
    batch = convert(
        id=layout([row[0] for row in rows]),
        text=layout([row[1] for row in rows]),
        note=layout([row[2] for row in rows]),
        score=pa.array([row[3] for row in rows], pa.float32()),
    )

    documents, letters = one_by_one(rows)
    assert [batch.document(place) for place in range(len(batch))] == documents
    assert list(batch.dead_letters) == letters
    assert batch.sources() == [str(document.source) for document in documents]
    some = range(0, len(documents), 2)
    taken = batch.take(some)
    assert [taken.document(place) for place in range(len(taken))] == documents[::2]


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.uint64(), pa.dictionary(pa.int8(), pa.int64())], ids=str
)
def test_integers_are_ids_in_decimal(kind: pa.DataType) -> None:
    values = [0, 7, None, 127]
    if kind == pa.uint64():
        values.append(2**64 - 1)

    ids = TextColumn(pa.array(values, kind))

    assert [ids[row] for row in range(len(ids))] == [
        None if value is None else str(value) for value in values
    ]


def test_null_is_none_where_the_collection_holds_it() -> None:
    columns = tuple(replace(column, nullable=True) for column in CARRIED)
    arrays = {"id": pa.array(["a", "b", "c"]), "text": pa.array(["t", "t", "t"]),
              "note": pa.array(["", None, "x"]), "score": pa.array([0.0, None, None])}  # fmt: skip
    places = RowPlaces.of_spans([(SourceRow(path="f", row_group=0, row=0), 3)])

    batch = RowConversion(carried_columns=columns).convert(
        pa.RecordBatch.from_pydict(arrays), places
    )

    assert list(batch.carried) == [("", 0.0), (None, None), ("x", None)]
    assert list(batch.carried_hashes) == [carried_hash(row) for row in batch.carried]
    assert len(set(batch.carried_hashes)) == 3


@pytest.mark.parametrize(("zone", "mark"), [(None, ""), ("UTC", "Z")])
def test_nanoseconds_are_cut_off_before_1970_as_after(zone: str | None, mark: str) -> None:
    numbers = pa.array([-382_879_565_876_543_211, None, 1_789, -1], pa.int64())
    arrays = {"id": pa.array(list("abcd")), "text": pa.array(["t"] * 4),
              "seen": numbers.cast(pa.timestamp("ns", zone))}  # fmt: skip
    places = RowPlaces.of_spans([(SourceRow(path="f", row_group=0, row=0), 4)])
    columns = [CarriedColumn(name="seen", type="text", nullable=True)]

    batch = RowConversion(carried_columns=columns).convert(
        pa.RecordBatch.from_pydict(arrays), places
    )

    assert [value for (value,) in batch.carried] == [
        f"1957-11-13T12:33:54.123456{mark}",
        None,
        f"1970-01-01T00:00:00.000001{mark}",
        f"1969-12-31T23:59:59.999999{mark}",
    ]


@pytest.mark.parametrize("space", SPACES, ids=ascii)
def test_white_space_is_what_python_says_it_is(space: str) -> None:
    column = TextColumn(pa.array([space, space + "a", "a" + space, 3 * space]))

    assert column.blank().tolist() == [True, False, False, True]


def test_a_single_bad_byte_does_not_reach_its_neighbours() -> None:
    texts: list[Any] = [b"one", b"", b"two\x00", b"", b"three", None]
    column = TextColumn(pa.array(texts, pa.binary()).view(pa.string()))

    assert column.beyond(1, 255).tolist() == [False, False, True] + 3 * [False]
