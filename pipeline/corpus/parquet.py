"""Stream documents from Parquet: row group by row group, only the columns that are needed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embed_index.pipeline.corpus.batching import cut_by_bytes, find_repeating, rows_per_batch
from embed_index.pipeline.corpus.conversion import RowConversion
from embed_index.pipeline.corpus.source import RowBatch
from embed_index.schemas.columns import RESERVED_COLUMNS, CarriedColumn, CarriedType
from embed_index.schemas.errors import ConfigurationError

_READ_BUFFER_BYTES = 1 << 20
_MEND_FILE = "The file is damaged or encrypted; write it again, or leave it out of --input."


class ParquetSource:
    """The documents of one or more Parquet files."""

    def __init__(
        self, inputs: Sequence[str], *, id_column: str, text_column: str, carry: Sequence[str] = ()
    ) -> None:
        """Open every file's footer and check its columns, so that a bad corpus fails at once.

        Args:
            inputs: Files, folders (searched for `*.parquet` below them) and glob patterns.
            id_column: A column of strings or integers.
            text_column: A column of strings.
            carry: Metadata columns to store beside each chunk.

        Raises:
            ConfigurationError: No such file, not Parquet, or a column is missing or of a type
                that cannot be used.
        """
        self._id_column = id_column
        self._text_column = text_column
        self._carry = tuple(carry)
        _check_carried_names(self._carry)
        self.files = _find_files(inputs)
        self._names = _shorten(self.files)
        self.num_rows = 0
        carried: tuple[CarriedColumn, ...] | None = None
        for file in self.files:
            with _open(file) as parquet:
                self.num_rows += parquet.metadata.num_rows
                found = self._check_columns(file, parquet.schema_arrow)
            if carried is not None and found != carried:
                self._refuse_mixed_types(file, found, carried)
            carried = found
        self.carried_columns = carried or ()

    def read(self) -> Iterator[RowBatch]:
        """Yield the rows of all files in order.

        Raises:
            ConfigurationError: A file became unreadable or is damaged.
        """
        for file, name in zip(self.files, self._names, strict=True):
            with _open(file) as parquet:
                for row_group in range(parquet.num_row_groups):
                    yield from self._read_row_group(parquet, file, name, row_group)

    def _read_row_group(
        self, parquet: pq.ParquetFile, file: Path, name: str, row_group: int
    ) -> Iterator[RowBatch]:
        columns = list(dict.fromkeys((self._id_column, self._text_column, *self._carry)))
        group = parquet.metadata.row_group(row_group)
        if repeating := find_repeating(group, (self._text_column, *self._carry)):
            with _open(file, read_dictionary=repeating) as again:
                yield from self._read_batches(again, file, name, row_group, columns)
        else:
            yield from self._read_batches(parquet, file, name, row_group, columns)

    def _read_batches(
        self,
        parquet: pq.ParquetFile,
        file: Path,
        name: str,
        row_group: int,
        columns: Sequence[str],
    ) -> Iterator[RowBatch]:
        batches = parquet.iter_batches(
            batch_size=rows_per_batch(parquet.metadata.row_group(row_group), columns),
            row_groups=[row_group],
            columns=columns,
            use_threads=False,
        )
        conversion = RowConversion(
            id_column=self._id_column,
            text_column=self._text_column,
            carried_columns=self.carried_columns,
        )
        row = 0
        try:
            for part in (part for batch in batches for part in cut_by_bytes(batch)):
                yield conversion.convert(part, path=name, row_group=row_group, first_row=row)
                row += part.num_rows
        except (pa.ArrowException, OSError) as error:
            raise ConfigurationError(
                f"input: {file} cannot be read at row group {row_group}, about row {row}"
                f" ({type(error).__name__})",
                remedy=_MEND_FILE,
            ) from error
        num_rows = parquet.metadata.row_group(row_group).num_rows
        if row != num_rows:
            # Some damage ends a column early without an error; its documents are not gone.
            raise ConfigurationError(
                f"input: {file} gives {row:,} rows of row group {row_group}, which should have"
                f" {num_rows:,}",
                remedy=_MEND_FILE,
            )

    def _check_columns(self, file: Path, schema: pa.Schema) -> tuple[CarriedColumn, ...]:
        for setting, column in (
            ("id_column", self._id_column),
            ("text_column", self._text_column),
            *(("carry", column) for column in self._carry),
        ):
            num_columns = schema.names.count(column)
            if num_columns != 1:
                which = "several columns" if num_columns else "no column"
                raise ConfigurationError(
                    f"{setting}: {file} has {which} {column!r}",
                    remedy=f"Its columns are: {', '.join(schema.names)}. Set {setting} to one.",
                )
        id_type, text_type = (
            _value_type(schema.field(name).type) for name in (self._id_column, self._text_column)
        )
        if not (_is_text(id_type) or pa.types.is_integer(id_type)):
            raise ConfigurationError(
                f"id_column: {self._id_column!r} in {file} is {id_type}",
                remedy="Document ids must be strings or integers.",
            )
        if not _is_text(text_type):
            raise ConfigurationError(
                f"text_column: {self._text_column!r} in {file} is {text_type}",
                remedy="The text must be a column of strings.",
            )
        return tuple(_carried_column(file, schema.field(name)) for name in self._carry)

    def _refuse_mixed_types(
        self, file: Path, found: Sequence[CarriedColumn], first: Sequence[CarriedColumn]
    ) -> None:
        for here, there in zip(found, first, strict=True):
            if here != there:
                raise ConfigurationError(
                    f"carry: {here.name!r} is {here.type} in {file}"
                    f" but {there.type} in {self.files[0]}",
                    remedy="Write the files with one type for the column, or do not carry it.",
                )


def _check_carried_names(carry: Sequence[str]) -> None:
    for name in carry:
        if name in RESERVED_COLUMNS:
            raise ConfigurationError(
                f"carry: every collection has a field {name!r} of its own",
                remedy="Rename the column in the Parquet files, or do not carry it.",
            )
        if not (name.isascii() and name.isidentifier() and len(name) <= 255):
            raise ConfigurationError(
                f"carry: {name!r} is no name that Milvus takes",
                remedy="Use letters, digits and underscores, not beginning with a digit.",
            )
    if len(set(carry)) != len(carry):
        raise ConfigurationError("carry: a column is named twice", remedy="Name it once.")


def _find_files(inputs: Sequence[str]) -> tuple[Path, ...]:
    files: list[Path] = []
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            found = sorted(file for file in path.rglob("*.parquet") if file.is_file())
        elif path.is_file():
            found = [path]
        else:
            anchor = Path(path.anchor)
            found = sorted(anchor.glob(str(path.relative_to(anchor)))) if path.name else []
        if not found:
            what = "holds no *.parquet file" if path.is_dir() else "does not exist"
            raise ConfigurationError(
                f"input: {text} {what}", remedy="Give Parquet files, folders or glob patterns."
            )
        files.extend(found)
    if not files:
        raise ConfigurationError(
            "input: no Parquet file was named",
            remedy="Give --input, or `input` under [source] in the job file.",
        )
    return tuple(dict.fromkeys(file.resolve() for file in files))


def _shorten(files: Sequence[Path]) -> tuple[str, ...]:
    """Name files relative to the folder they share, so that moving the corpus changes nothing."""
    if len(files) == 1:
        return (files[0].name,)
    shared = files[0].parent
    while not all(file.is_relative_to(shared) for file in files):
        shared = shared.parent
    return tuple(file.relative_to(shared).as_posix() for file in files)


def _open(file: Path, *, read_dictionary: Sequence[str] = ()) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(
            file,
            buffer_size=_READ_BUFFER_BYTES,
            pre_buffer=False,
            read_dictionary=list(read_dictionary),
        )
    except (pa.ArrowException, OSError, UnicodeError) as error:
        # Arrow takes neither a file name nor a column name that is not UTF-8.
        raise ConfigurationError(
            f"input: {file} is not a readable Parquet file ({type(error).__name__})",
            remedy="Write the file again, or leave it out of --input.",
        ) from error


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _carried_column(file: Path, field: pa.Field) -> CarriedColumn:
    kind = _value_type(field.type)
    carried: CarriedType
    if _is_text(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        carried = "text"
    elif pa.types.is_boolean(kind):
        carried = "boolean"
    elif pa.types.is_integer(kind) and kind != pa.uint64():
        carried = "integer"
    elif pa.types.is_floating(kind):
        carried = "number"
    else:
        raise ConfigurationError(
            f"carry: {field.name!r} in {file} is {field.type}, which a collection cannot carry",
            remedy="Carry strings, integers, floats, booleans, dates and timestamps.",
        )
    return CarriedColumn(name=field.name, type=carried)
