"""Which columns of a file are read, where they stand, and how their types are read."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from embed_index.pipeline.corpus.casts import (
    NOTHING,
    Reading,
    joined_texts,
    read_carried,
    read_ids,
    read_texts,
)
from embed_index.pipeline.corpus.conditions import Condition
from embed_index.pipeline.corpus.files import CorpusFile
from embed_index.pipeline.corpus.paths import (
    AmbiguousColumnError,
    ColumnPath,
    field_at,
    find_path,
    partition_value,
)
from embed_index.pipeline.corpus.structured import read_structured
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.names import carried_source

IdFrom: TypeAlias = Literal["column", "text", "place"]
"""What a document's id is: a column's value, the hash of its text, or its file and row there."""

ID, TEXT, FIRST_CARRIED = 0, 1, 2
"""Where a batch has its columns, once they are selected."""

_CARRIED = (
    "Carry strings, integers, floats, booleans, dates, timestamps, UUIDs and short decimals, and"
    " lists and structs of text, numbers and booleans."
)
_TYPES = {
    "id_column": (read_ids, "Document ids must be strings, integers, decimals, UUIDs or bytes."),
    "text_column": (read_texts, "The text must be a column of strings, or of lists of strings."),
    "carry": (
        lambda kind: read_structured(kind) or read_carried(kind),
        _CARRIED,
    ),
}
_TYPES["where"] = (read_carried, "A condition compares single values.")
_WAYS_WITHOUT_ID = (
    ' For a corpus without ids set id_from = "text", the text\'s hash, or "place", file and row.'
)


@dataclass(frozen=True, slots=True)
class FileColumn:
    """One column as a file has it."""

    path: ColumnPath | None
    """None where it does not stand in the file itself."""
    reading: Reading
    constant: str | None = None
    """Of a column that does not stand there: what its folders say, None for null."""

    @property
    def name(self) -> str:
        """As Parquet's own schema has it."""
        return ".".join(self.path or ())

    def of(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the column's values in a batch, as they are read."""
        if self.path is None:
            if self.constant is None:
                return pa.nulls(batch.num_rows)
            return pa.repeat(pa.scalar(self.constant, pa.string()), batch.num_rows)
        column = batch.column(batch.schema.names.index(self.path[0]))
        if len(self.path) > 1:
            column = pc.struct_field(column, list(self.path[1:]))
        return self.reading.cast(column)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileColumns:
    """The columns of one file that a job reads."""

    id: FileColumn | None
    """None where ids stand in no column."""
    texts: tuple[FileColumn, ...]
    """Whose values together are the text."""
    carried: tuple[FileColumn | None, ...]
    """None where neither the file nor its folders have one."""
    where: tuple[FileColumn | None, ...]
    """What the condition is about; None where neither the file nor its folders have one."""
    condition: Condition | None
    said: tuple[str, ...]
    """What is read otherwise than it stands there, for people."""

    @property
    def stand_in_file(self) -> bool:
        """Whether none is missing or what folders say, so that files of one schema are alike."""
        columns = (*self.texts, *self.carried, *self.where, *([self.id] if self.id else ()))
        return all(column is not None and column.path is not None for column in columns)

    def names(self) -> list[str]:
        """Return what is read of the file, each once."""
        columns = (self.id, *self.texts, *self.carried, *self.where)
        return list(dict.fromkeys(c.name for c in columns if c is not None and c.path))

    def select(self, batch: pa.RecordBatch, *, made_ids: pa.Array | None = None) -> pa.RecordBatch:
        """Return the ids, the texts and the carried columns of a batch, in this order.

        Last stands whether rows meet the condition, if there is one.

        Args:
            batch: Rows of the file.
            made_ids: Ids that stand in no column; None for nulls.
        """
        nulls = pa.nulls(batch.num_rows)
        ids = nulls if made_ids is None else made_ids
        arrays = [
            ids if self.id is None else self.id.of(batch),
            self.text(batch),
            *(nulls if column is None else column.of(batch) for column in self.carried),
        ]
        if self.condition is not None:
            arrays.append(self.met(batch))
        return pa.RecordBatch.from_arrays(arrays, names=[str(n) for n in range(len(arrays))])

    def text(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the texts of a batch."""
        return joined_texts([column.of(batch) for column in self.texts])

    def without_content(self) -> "FileColumns":
        """Return the same with neither texts nor metadata, for rows that are left out."""
        nothing = FileColumn(None, NOTHING)
        return replace(self, texts=(nothing,), carried=(None,) * len(self.carried))

    def met(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Return which rows of a batch meet the condition, of which there must be one."""
        assert self.condition is not None
        columns = [
            pa.nulls(batch.num_rows) if column is None else column.of(batch)
            for column in self.where
        ]
        return self.condition.mask(dict(zip(self.condition.names, columns, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of a corpus that a job reads."""

    id_column: str
    text_columns: tuple[str, ...]
    """More than one are joined by a blank line."""
    carry: tuple[str, ...]
    """As the setting has them: `lang`, or `created at as created_at`."""
    id_from: IdFrom = "column"
    condition: Condition | None = None

    def of_file(self, file: CorpusFile, schema: pa.Schema) -> FileColumns:
        """Return where a file has the columns, and how they are read.

        Raises:
            ConfigurationError: A column is missing, there twice, or of a type that cannot be used.
        """
        found = _Found(file, schema)
        id_column = None
        if self.id_from == "column":
            id_column = found.column("id_column", self.id_column)
            if id_column is None:
                raise missing_column("id_column", self.id_column, file=file, schema=schema)
        texts = []
        for name in self.text_columns:
            text = found.column("text_column", name)
            if text is None or text.path is None:
                raise missing_column("text_column", name, file=file, schema=schema)
            texts.append(text)
        names = () if self.condition is None else self.condition.names
        columns = FileColumns(
            id=id_column,
            texts=tuple(texts),
            carried=tuple(found.column("carry", carried_source(entry)[0]) for entry in self.carry),
            where=tuple(found.column("where", name) for name in names),
            condition=self.condition,
            said=tuple(dict.fromkeys(found.said)),
        )
        if self.condition is not None:
            # What cannot be compared is refused before anything is read.
            columns.met(_no_rows(schema))
        return columns


def missing_column(
    setting: str, name: str, *, file: CorpusFile | str, schema: pa.Schema
) -> ConfigurationError:
    """Return the error of a column that is not there."""
    return _refusal(setting, name, "no column", file=file, schema=schema)


class _Found:
    """Finds the columns of one file, and keeps what is to be said of them."""

    def __init__(self, file: CorpusFile, schema: pa.Schema) -> None:
        self._file = file
        self._schema = schema
        self.said: list[str] = []

    def column(self, setting: str, name: str) -> FileColumn | None:
        """Return a column that a setting names, None where there is none."""
        try:
            path = find_path(self._schema, name)
        except AmbiguousColumnError:
            raise _refusal(
                setting, name, "several columns", file=self._file, schema=self._schema
            ) from None
        if path is None:
            value = partition_value(self._file, name)
            if value is None:
                return None
            self.said.append(f"{setting}: {name} is what the folders' names ({name}=…) say")
            return FileColumn(None, Reading(NOTHING.cast, carried="text"), value[0])
        field = field_at(self._schema, path)
        read, possible = _TYPES[setting]
        reading = read(field.type)
        if reading is None:
            what = ", which a collection cannot carry" if setting == "carry" else ""
            raise ConfigurationError(
                f"{setting}: {name!r} in {self._file} is {field.type}{what}",
                remedy=f"{possible}{_inner_fields(name, field.type)}",
            )
        if path[0] != name and len(path) == 1:
            self.said.append(f"{setting}: {name} is the column {path[0]}")
        if reading.said:
            self.said.append(f"{setting}: {name} holds {reading.said}")
        return FileColumn(path, reading)


def _refusal(
    setting: str, name: str, which: str, *, file: CorpusFile | str, schema: pa.Schema
) -> ConfigurationError:
    what = f"Set {setting} to one."
    if setting == "carry":
        what = f"Correct the name in carry, or leave {name!r} out of it."
    elif setting == "where":
        what = "Correct the name in the condition."
    elif setting == "id_column":
        what += _WAYS_WITHOUT_ID
    elif setting == "text_column" and "," in name:
        what = "Give each of several by a --text-column of its own, or as a list in the job file."
    has = f"Its columns are: {', '.join(schema.names)}." if schema.names else "It has no columns."
    return ConfigurationError(
        f"{setting}: {file} has {which} {name!r}",
        remedy=f"{has} {what}",
    )


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    columns = [column.combine_chunks() for column in schema.empty_table().columns]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _inner_fields(name: str, kind: pa.DataType) -> str:
    if not pa.types.is_struct(kind):
        return ""
    fields = (kind.field(place).name for place in range(kind.num_fields))
    return f" Its fields are called {', '.join(f'{name}.{field}' for field in fields)}."
