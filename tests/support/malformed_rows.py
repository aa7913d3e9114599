"""Corpora of good rows with malformed ones among them, in Parquet files of several layouts.

Every row knows what must become of it. A row has one fault, and which one is its kind.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from embed_index.pipeline.corpus.row_checks import MAX_TEXT_CHARS
from embed_index.schemas.records import CarriedValue

CARRIED = ("topic", "score", "amount", "is_open", "day", "seen_at")
_EMPTY: tuple[CarriedValue, ...] = ("", 0.0, 0, False, "", "")

_UNIX_DAY = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row as it is written; strings are bytes, so that they need not be UTF-8."""

    id: bytes | None
    text: bytes | None
    topic: bytes | None = b"pumps"
    score: float | None = 0.5
    amount: int | None = 3
    is_open: bool | None = True
    day: int | None = 19_849
    """Days since 1970."""
    seen_at: int | None = 1_714_979_289
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodRow:
    """What a collection must hold of a document."""

    text: str
    carried: tuple[CarriedValue, ...]
    source: str

    def without_null(self) -> "GoodRow":
        """Return the row as a server holds it that knows no null."""
        pairs = zip(self.carried, _EMPTY, strict=True)
        return replace(self, carried=tuple(e if x is None else x for x, e in pairs))


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """What a dead letter must say."""

    file: str
    row_group: int
    row: int
    reason: str
    doc_id: str | None


@dataclass(slots=True, kw_only=True)
class Expected:
    """What must become of a corpus."""

    good: dict[str, GoodRow] = field(default_factory=dict)
    bad: list[BadRow] = field(default_factory=list)
    num_of_kind: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a file of the corpus is written; files are read in the order of their names."""

    name: str
    string: pa.DataType = field(default_factory=pa.string)
    is_dictionary: bool = False
    numbered: bool = False
    """Whether its ids are integers."""
    unit: str = "us"
    zone: str | None = None
    row_group_rows: int = 1024
    options: Mapping[str, Any] = field(default_factory=dict)


LAYOUTS = (
    Layout(name="a plain.parquet", options={"compression": "none", "use_dictionary": False}),
    Layout(name="b/dictionary.parquet", is_dictionary=True, row_group_rows=97, unit="ms"),
    Layout(
        name="b/large.parquet",
        string=pa.large_string(),
        zone="Europe/Berlin",
        options={"compression": "zstd", "data_page_size": 256},
    ),
    Layout(
        name="c#0:0.parquet",
        string=pa.string_view(),
        zone="Nowhere/Unknown",
        options={"compression": "gzip"},
    ),
    Layout(name="d numbers.parquet", numbered=True, unit="ns", row_group_rows=31),
    Layout(
        name="e 'x'\n\u202e.parquet",
        row_group_rows=3,
        unit="ms",
        options={"data_page_version": "2.0", "compression": "lz4"},
    ),
    Layout(
        name="f/日本語.parquet",
        zone="+05:30",
        options={
            "use_dictionary": False,
            "column_encoding": {"id": "DELTA_BYTE_ARRAY", "text": "DELTA_LENGTH_BYTE_ARRAY"},
        },
    ),
)

Spoil: TypeAlias = Callable[[Row, random.Random], Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A way to be malformed."""

    reason: str
    spoil: Spoil
    keeps_id: bool = True
    """Whether the row's id is usable, and so is in the dead letter."""
    fits: Callable[[Layout], bool] = lambda _: True


def _with(name: str, *values: object) -> Spoil:
    return lambda row, rng: replace(row, **{name: rng.choice(values)})  # type: ignore[arg-type]


def _beside(name: str, *parts: bytes) -> Spoil:
    """Put one of the parts before or behind a value."""

    def spoil(row: Row, rng: random.Random) -> Row:
        value, part = getattr(row, name) or b"", rng.choice(parts)
        spoilt = rng.choice((part + value, value + part))
        return replace(row, **{name: spoilt})  # type: ignore[arg-type]

    return spoil


def _has_string_ids(layout: Layout) -> bool:
    return not layout.numbered


_SPACES = (b" ", b"\t\r\n", "\u00a0\u2003\u3000".encode(), "\u2028\u2029\u0085".encode())
_SURROGATES = (b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80")
"""As WTF-8 and CESU-8 write them: a high one, a low one, and a pair that stands for an emoji."""
_NOT_UTF8 = (b"caf\xe9", b"\xff\xfeh\x00i", b"\xc0\xaf", b"\xf5\x80\x80\x80", b"\xe2\x82")
"""Latin-1, UTF-16, an overlong slash, beyond Unicode, cut short."""

KINDS: Mapping[str, Kind] = {
    "id is null": Kind(reason="null_id", spoil=_with("id", None), keeps_id=False),
    "id is empty": Kind(
        reason="empty_id", spoil=_with("id", b""), keeps_id=False, fits=_has_string_ids
    ),
    "id is white space": Kind(
        reason="empty_id", spoil=_with("id", *_SPACES), keeps_id=False, fits=_has_string_ids
    ),
    "id is not UTF-8": Kind(
        reason="invalid_id", spoil=_beside("id", *_NOT_UTF8), keeps_id=False, fits=_has_string_ids
    ),
    "id holds surrogates": Kind(
        reason="invalid_id", spoil=_beside("id", *_SURROGATES), keeps_id=False, fits=_has_string_ids
    ),
    "id holds control characters": Kind(
        reason="invalid_id",
        spoil=_beside("id", b"\x00", b"\x1b[2J", b"\n", b"\x7f", "\u009b".encode()),
        keeps_id=False,
        fits=_has_string_ids,
    ),
    "id is too long": Kind(
        reason="long_id",
        spoil=_with("id", b"x" * 513, "é".encode() * 257, "😀".encode() * 129),
        keeps_id=False,
        fits=_has_string_ids,
    ),
    "id is that of a row before": Kind(reason="duplicate_id", spoil=lambda row, _: row),
    "id is that of a row in a file before": Kind(
        reason="duplicate_id", spoil=lambda row, _: row, fits=lambda x: x not in LAYOUTS[:1]
    ),
    "text is null": Kind(reason="null_text", spoil=_with("text", None)),
    "text is empty": Kind(reason="empty_text", spoil=_with("text", b"")),
    "text is white space": Kind(reason="empty_text", spoil=_with("text", *_SPACES)),
    "text is not UTF-8": Kind(reason="invalid_text", spoil=_beside("text", *_NOT_UTF8)),
    "text holds surrogates": Kind(reason="invalid_text", spoil=_beside("text", *_SURROGATES)),
    "text holds NUL": Kind(reason="nul_in_text", spoil=_beside("text", b"\x00", b"\x00" * 99)),
    "text is huge": Kind(
        reason="huge_text",
        spoil=lambda row, _: replace(row, text=b"x" * (MAX_TEXT_CHARS + 1)),
        fits=lambda layout: layout.string == pa.large_string(),
    ),
    "carried number is NaN": Kind(reason="invalid_carried", spoil=_with("score", float("nan"))),
    "carried number is infinite": Kind(
        reason="invalid_carried", spoil=_with("score", float("inf"), float("-inf"))
    ),
    "carried text is not UTF-8": Kind(
        reason="invalid_carried", spoil=_beside("topic", *_NOT_UTF8, *_SURROGATES)
    ),
    "carried text is too long": Kind(
        reason="long_carried", spoil=_with("topic", b"x" * 8193, "é".encode() * 4097)
    ),
    "carried date is out of range": Kind(
        reason="invalid_carried", spoil=_with("day", 3_000_000, -3_000_000, 2**31 - 1, -(2**31))
    ),
    "carried time is out of range": Kind(
        reason="invalid_carried",
        spoil=_with("seen_at", 10**12, -(10**12)),
        fits=lambda layout: layout.unit != "ns",
    ),
}
RARE = ("text is huge",)
"""Kinds of which a corpus has one row, whatever its size."""

_ODD_IDS = (
    "a'b\"c\\d", "100%", "x' OR '1'='1", "../../etc/passwd", "null", "NaN", "日本語", "🙂",
    " a  b ", "\u202eabc", "é" * 252, "z" * 504, "{{id}}", "#0:0",
)  # fmt: skip
"""Put before eight digits; the longest fit just so."""
_ODD_TEXTS = (
    "\ufeffA byte order mark.", "x", "e\u0301 and é", "😀" * 50, "مضخة", "a\u200bb", "\x01\x1b[2J",
    "line\r\nline\u2028line", "\U0010ffff\ufffe", "tab\t" * 20, "'; DROP TABLE documents; --", "¥€",
)  # fmt: skip


def write_corpus(folder: Path, *, num_good: int, num_bad: int, seed: int) -> Expected:
    """Write the corpus, of every kind nearly as many rows, and return what is in it."""
    rng = random.Random(seed)
    expected = Expected()
    kinds = _kinds(num_bad)
    good = ["" for _ in range(num_good)]
    # A file's first row is good, so that there is an id to repeat.
    heads, rest = good[: len(LAYOUTS)], good[len(LAYOUTS) :] + kinds
    rng.shuffle(rest)
    slots: dict[str, list[str]] = {x.name: [h] for x, h in zip(LAYOUTS, heads, strict=True)}
    for kind in rest:
        fitting = [x for x in LAYOUTS if not kind or KINDS[kind].fits(x)]
        slots[rng.choice(fitting).name].append(kind)
    ids = iter(range(num_good + num_bad))
    for layout in LAYOUTS:
        _write_file(folder, layout, slots[layout.name], ids=ids, rng=rng, expected=expected)
    return expected


def _kinds(num_bad: int) -> list[str]:
    usual = [name for name in KINDS if name not in RARE]
    return [*RARE, *(usual[n % len(usual)] for n in range(num_bad - len(RARE)))]


def _write_file(
    folder: Path,
    layout: Layout,
    kinds: list[str],
    *,
    ids: Iterator[int],
    rng: random.Random,
    expected: Expected,
) -> None:
    before = list(expected.good)
    here: list[str] = []
    rows = []
    for place, kind in enumerate(kinds):
        row_group, within = divmod(place, layout.row_group_rows)
        row = _good_row(next(ids), layout, rng)
        if kind:
            expected.num_of_kind[kind] += 1
            row = KINDS[kind].spoil(row, rng)
            if KINDS[kind].reason == "duplicate_id":
                row = replace(row, id=_repeated_id(layout, here, before, kind=kind, rng=rng))
            expected.bad.append(
                BadRow(
                    file=layout.name,
                    row_group=row_group,
                    row=within,
                    reason=KINDS[kind].reason,
                    doc_id=(row.id or b"").decode() if KINDS[kind].keeps_id else None,
                )
            )
        else:
            assert row.id is not None
            here.append(row.id.decode())
            expected.good[here[-1]] = GoodRow(
                text=(row.text or b"").decode(),
                carried=_carried(row, layout),
                source=f"{layout.name}#{row_group}:{within}",
            )
        rows.append(row)
    path = folder / layout.name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        _table(rows, layout), path, row_group_size=layout.row_group_rows, **layout.options
    )


def _repeated_id(
    layout: Layout, here: list[str], before: list[str], *, kind: str, rng: random.Random
) -> bytes:
    known = before if "file before" in kind else here
    # Every file has ids that are numbers, so that a file of numbers can repeat them.
    usable = [x for x in known if x.isascii() and x.isdigit()] if layout.numbered else known
    return rng.choice(usable).encode()


def _good_row(number: int, layout: Layout, rng: random.Random) -> Row:
    doc_id = str(number)
    if not layout.numbered and number % 3:
        doc_id = f"{rng.choice(_ODD_IDS)}{number:08}"
    text = f"Document {number} speaks of pump {rng.randrange(997)}. " * rng.choice((1, 1, 1, 2, 9))
    if number % 4 == 1:
        text = f"{rng.choice(_ODD_TEXTS)}{number}"
    return Row(
        id=doc_id.encode(),
        text=text.encode(),
        topic=rng.choice((b"pumps", b"", None, b"x" * 8192, "é\n'\"\\".encode(), b"a\x00b")),
        score=rng.choice((0.5, -0.0, 1e300, 5e-324, None)),
        amount=rng.choice((0, 2**63 - 1, -(2**63), 7, None)),
        is_open=rng.choice((True, False, None)),
        day=rng.choice((0, 19_849, -719_162, 2_932_896, None)),
        seen_at=rng.choice((0, 1_714_979_289, -1, None)),
    )


def _carried(row: Row, layout: Layout) -> tuple[CarriedValue, ...]:
    seen_at = None
    if row.seen_at is not None:
        moment = _EPOCH + timedelta(seconds=row.seen_at)
        seen_at = moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + ("Z" if layout.zone else "")
    return (
        None if row.topic is None else row.topic.decode(),
        row.score,
        row.amount,
        row.is_open,
        None if row.day is None else (_UNIX_DAY + timedelta(days=row.day)).isoformat(),
        seen_at,
    )


def _table(rows: list[Row], layout: Layout) -> pa.Table:
    moments = [
        None if row.seen_at is None else row.seen_at * _PER_SECOND[layout.unit] for row in rows
    ]
    ids: pa.Array
    if layout.numbered:
        ids = pa.array([None if row.id is None else int(row.id) for row in rows], pa.int64())
    else:
        ids = _strings([row.id for row in rows], layout)
    columns = {
        "seen_at": pa.array(moments, pa.int64()).view(pa.timestamp(layout.unit, layout.zone)),
        "day": pa.array([row.day for row in rows], pa.int32()).view(pa.date32()),
        "is_open": pa.array([row.is_open for row in rows], pa.bool_()),
        "amount": pa.array([row.amount for row in rows], pa.int64()),
        "score": pa.array([row.score for row in rows], pa.float64()),
        "topic": _strings([row.topic for row in rows], layout),
        "not carried": pa.array([[place] for place in range(len(rows))]),
        "text": _strings([row.text for row in rows], layout),
        "id": ids,
    }
    return pa.table(columns)


def _strings(values: list[bytes | None], layout: Layout) -> pa.Array:
    binary: Mapping[pa.DataType, pa.DataType] = {
        pa.string(): pa.binary(),
        pa.large_string(): pa.large_binary(),
        pa.string_view(): pa.binary_view(),
    }
    if not layout.is_dictionary:
        return pa.array(values, binary[layout.string]).view(layout.string)
    known = list(dict.fromkeys(value for value in values if value is not None))
    places = {value: place for place, value in enumerate(known)}
    indices = pa.array([None if x is None else places[x] for x in values], pa.int32())
    dictionary = pa.array(known, binary[layout.string]).view(layout.string)
    return pa.DictionaryArray.from_arrays(indices, dictionary)
