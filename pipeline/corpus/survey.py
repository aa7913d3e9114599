"""Looks at the columns of a corpus that nobody has described yet: types, and the first rows."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from embed_index.pipeline.corpus.batching import is_signed, rows_per_batch
from embed_index.pipeline.corpus.casts import (
    Reading,
    read_carried,
    read_ids,
    read_texts,
    value_type,
)
from embed_index.pipeline.corpus.files import CorpusFile
from embed_index.pipeline.corpus.listing import list_corpus
from embed_index.pipeline.corpus.opening import open_parquet, readable_errors
from embed_index.pipeline.corpus.python_values import to_python
from embed_index.pipeline.corpus.row_checks import BadRowError, check_carried, check_id
from embed_index.pipeline.corpus.structured import read_structured
from embed_index.pipeline.storage.store import Storage
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.names import check_carried_names

MAX_ROWS = 1000
_MAX_FILES = 10
_MAX_BYTES = 64 << 20
_FRACTION = re.compile(r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyedColumn:
    """One column, as the first rows show it."""

    name: str
    type: str
    """As Arrow names it."""
    is_text: bool
    is_integer: bool
    num_rows: int
    """Looked at; 0 for a column of a type that nothing can be made of."""
    num_empty: int
    """Null, or empty, or only white space."""
    num_distinct: int
    """Of the values that are not."""
    mean_bytes: float
    """Of texts that are not empty, in UTF-8; 0 for other types."""
    long_bytes: int
    """Nineteen of twenty of these texts are no longer."""
    has_spaces: bool
    """Whether a text has white space in it, as prose has and keys have not."""
    has_other_scripts: bool
    """Whether a text has characters beyond ASCII; some scripts need no white space for prose."""
    unfit_as_id: str
    """Why the values seen cannot tell documents apart; empty if they can."""
    not_carried: str
    """Why the values seen cannot be carried; empty if they can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSurvey:
    """What a corpus looks like from outside."""

    num_files: int
    num_rows: int
    num_rows_seen: int
    columns: tuple[SurveyedColumn, ...]
    """Those that every file has, in the order of the first."""
    unreadable: tuple[str, ...]
    """What is wrong with files that were left out, for people."""
    notices: tuple[str, ...]
    """What should be said of files that are not read because of their names, for people."""


def survey_corpus(inputs: Sequence[str], *, storage: Storage | None = None) -> CorpusSurvey:
    """Look at every file's footer, and at the first rows of some files.

    Args:
        inputs: Files, folders and glob patterns, as of `ParquetSource`.
        storage: As of `ParquetSource`.

    Raises:
        ConfigurationError: There is no file that can be read.
        UnavailableError: A store stays away.
    """
    listing = list_corpus(inputs, storage=storage)
    schemas: dict[CorpusFile, pa.Schema] = {}
    num_rows = 0
    errors: list[ConfigurationError] = []
    for file in listing.files:
        try:
            with open_parquet(file) as parquet:
                num_rows += parquet.metadata.num_rows
                schemas[file] = parquet.schema_arrow
        except ConfigurationError as error:
            errors.append(error)
    if not schemas:
        raise errors[0]
    files = list(schemas)
    named = [field for field in schemas[files[0]] if field.name]
    shared = [field for field in named if all(_has(x, field) for x in schemas.values())]
    readings = {f.name: _reading(f.type) for f in shared}
    values: dict[str, list[object]] = {name: [] for name, x in readings.items() if x is not None}
    # Files of one corpus may count their rows from 0 each; only several of them show it.
    chosen = dict.fromkeys(files[n * len(files) // _MAX_FILES] for n in range(_MAX_FILES))
    num_rows_seen = 0
    for file in chosen:
        try:
            for seen in _first_rows(file, readings, num_files=len(chosen)):
                num_rows_seen += len(next(iter(seen.values())))
                for name, some in seen.items():
                    values[name].extend(some)
        except ConfigurationError as error:
            errors.append(error)
    return CorpusSurvey(
        num_files=len(files),
        num_rows=num_rows,
        num_rows_seen=num_rows_seen,
        columns=tuple(_looked_at(field, values.get(field.name, [])) for field in shared),
        unreadable=tuple(error.message.removeprefix("input: ") for error in errors),
        notices=tuple(listing.notices()),
    )


def _has(schema: pa.Schema, field: pa.Field) -> bool:
    if schema.names.count(field.name) != 1:
        return False
    here, there = value_type(schema.field(field.name).type), value_type(field.type)
    are_texts = read_texts(here) is not None and read_texts(there) is not None
    return bool(here == there or are_texts)


def _reading(kind: pa.DataType) -> Reading | None:
    """Return how values of a type are looked at, None where nothing can be made of them."""
    return (
        None if pa.types.is_null(kind) else read_texts(kind) or read_ids(kind) or read_carried(kind)
    )


def _first_rows(
    file: CorpusFile, readings: Mapping[str, Reading | None], *, num_files: int
) -> Iterator[dict[str, list[object]]]:
    """Yield values by column, of so many rows of a file as it is one of some."""
    read = {name: reading for name, reading in readings.items() if reading is not None}
    if not read:
        return
    num_rows_wanted, num_bytes_wanted = -(-MAX_ROWS // num_files), _MAX_BYTES // num_files
    names = list(read)
    with open_parquet(file) as parquet:
        by_column = not is_signed(file, parquet.metadata)
        for row_group in range(parquet.num_row_groups):
            with readable_errors(file, row_group, 0):
                group = parquet.metadata.row_group(row_group)
                size = min(num_rows_wanted, rows_per_batch(group, names, by_column=by_column))
                for batch in parquet.iter_batches(size, [row_group], names, use_threads=False):
                    rows = batch.slice(0, num_rows_wanted)
                    yield {name: to_python(x.cast(rows.column(name))) for name, x in read.items()}
                    num_rows_wanted -= batch.num_rows
                    num_bytes_wanted -= batch.nbytes
                    if num_rows_wanted <= 0 or num_bytes_wanted <= 0:
                        return


def _looked_at(field: pa.Field, values: Sequence[object]) -> SurveyedColumn:
    kind = value_type(field.type)
    present = [value for value in values if not _is_empty(value)]
    texts = [value for value in present if isinstance(value, str)]
    sizes = sorted(len(text.encode()) for text in texts)
    num_distinct = len(set(present))
    return SurveyedColumn(
        name=field.name,
        type=str(kind),
        is_text=read_texts(kind) is not None and not pa.types.is_null(kind),
        is_integer=bool(pa.types.is_integer(kind)),
        num_rows=len(values),
        num_empty=len(values) - len(present),
        num_distinct=num_distinct,
        mean_bytes=sum(sizes) / len(sizes) if sizes else 0.0,
        long_bytes=sizes[math.ceil(0.95 * len(sizes)) - 1] if sizes else 0,
        has_spaces=any(len(text.split(maxsplit=1)) > 1 for text in texts),
        has_other_scripts=not all(text.isascii() for text in texts),
        unfit_as_id=_flaw_as_id(field.name, kind, values, num_distinct=num_distinct),
        not_carried=_flaw_as_carried(field, values),
    )


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _is_row_number(name: str, kind: pa.DataType) -> bool:
    """Tell whether a column numbers the rows as they were in memory, as pandas writes it."""
    return bool(name.startswith("__index_level_") and pa.types.is_integer(kind))


def _flaw_as_id(
    name: str, kind: pa.DataType, values: Sequence[object], *, num_distinct: int
) -> str:
    if read_ids(kind) is None or pa.types.is_floating(kind) or pa.types.is_null(kind):
        return f"is {kind}"
    if not values:
        return "has no rows"
    if _is_row_number(name, kind):
        return "numbers rows, another way each time they are written"
    num_empty = sum(map(_is_empty, values))
    if num_empty:
        return f"is null or empty in {counted(num_empty, 'row')}"
    num_repeated = len(values) - num_distinct
    if num_repeated:
        return f"repeats itself in {counted(num_repeated, 'row')}"
    if all(isinstance(value, str) and _FRACTION.fullmatch(value) for value in values):
        return "measures something"
    try:
        for value in values:
            check_id(value if isinstance(value, bytes) else str(value))
    except BadRowError as bad:
        return f"has a value that is none: {bad.detail}"
    return ""


def _flaw_as_carried(field: pa.Field, values: Sequence[object]) -> str:
    if _is_row_number(field.name, value_type(field.type)):
        return "It numbers rows, as pandas does."
    try:
        check_carried_names([field.name])
    except ValueError as error:
        return f"{str(error).removeprefix('must not name ')}."
    reading = read_carried(field.type)
    if reading is None:
        if read_structured(field.type) is not None:
            return "It has parts; carry it if hits shall show it."
        return "A collection cannot carry this type."
    column = CarriedColumn(name=field.name, type=reading.carried or "text")
    try:
        for value in values:
            check_carried(column, value)
    except BadRowError as bad:
        return bad.detail
    return "" if any(not _is_empty(value) for value in values) else "It is empty."
