"""Which columns of a file are read, and whether their types can be used."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from embed_index.schemas.columns import CarriedColumn, CarriedType
from embed_index.schemas.errors import ConfigurationError

CarriedTypes = tuple[CarriedType | None, ...]
"""One for each carried column; None where a file has nothing but nulls in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of a corpus that a job reads."""

    id_column: str
    text_column: str
    carry: tuple[str, ...]

    def names(self) -> list[str]:
        """Return each once."""
        return list(dict.fromkeys((self.id_column, self.text_column, *self.carry)))

    def check_schema(self, file: Path, schema: pa.Schema) -> CarriedTypes:
        """Return as what a file's carried columns are stored.

        Raises:
            ConfigurationError: A column is missing, there twice, or of a type that cannot be used.
        """
        for setting, column in self._settings():
            num_columns = schema.names.count(column)
            if num_columns != 1:
                which = "several columns" if num_columns else "no column"
                what = f"Set {setting} to one"
                if setting == "carry":
                    what = f"Correct the name in carry, or leave {column!r} out of it"
                raise ConfigurationError(
                    f"{setting}: {file} has {which} {column!r}",
                    remedy=f"Its columns are: {', '.join(schema.names)}. {what}.",
                )
        # What holds nothing but nulls has no type; its rows become dead letters, one by one.
        id_type, text_type = (
            value_type(schema.field(name).type) for name in (self.id_column, self.text_column)
        )
        if not (is_text(id_type) or pa.types.is_integer(id_type) or pa.types.is_null(id_type)):
            raise ConfigurationError(
                f"id_column: {self.id_column!r} in {file} is {id_type}",
                remedy="Document ids must be strings or integers.",
            )
        if not (is_text(text_type) or pa.types.is_null(text_type)):
            raise ConfigurationError(
                f"text_column: {self.text_column!r} in {file} is {text_type}",
                remedy="The text must be a column of strings.",
            )
        return tuple(carried_type(file, schema.field(name)) for name in self.carry)

    def _settings(self) -> Iterator[tuple[str, str]]:
        yield "id_column", self.id_column
        yield "text_column", self.text_column
        for column in self.carry:
            yield "carry", column


class CarriedLayout:
    """The carried columns of a corpus, which have one type in all of its files."""

    def __init__(self, carry: Sequence[str]) -> None:
        self._carry = carry
        self._types: list[CarriedType | None] = [None] * len(carry)
        self._first: list[str | None] = [None] * len(carry)

    def add(self, file: Path, types: CarriedTypes) -> None:
        """Take in what one file has.

        Raises:
            ConfigurationError: Another file has another type.
        """
        for place, (here, there) in enumerate(zip(types, self._types, strict=True)):
            if here is None or here == there:
                continue
            if there is not None:
                raise ConfigurationError(
                    f"carry: {self._carry[place]!r} is {here} in {file}"
                    f" but {there} in {self._first[place] or 'the collection'}",
                    remedy="Write the files with one type for the column, or do not carry it.",
                )
            self._types[place], self._first[place] = here, str(file)

    def settle(self, known: Sequence[CarriedColumn] = ()) -> tuple[CarriedColumn, ...]:
        """Return the columns; those that are null in every row are as known, or else text."""
        stored = {column.name: column.type for column in known}
        kinds: list[CarriedType] = [
            kind if kind is not None and first is not None else stored.get(name, "text")
            for name, kind, first in zip(self._carry, self._types, self._first, strict=True)
        ]
        self._types = [*kinds]
        return tuple(map(_column, self._carry, kinds))


def _column(name: str, kind: CarriedType) -> CarriedColumn:
    return CarriedColumn(name=name, type=kind)


def value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values, which a dictionary may hold."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    """Tell whether values are strings, in whatever layout."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def carried_type(file: Path, field: pa.Field) -> CarriedType | None:
    """Return as what a column is stored; None where it holds nothing but nulls.

    Raises:
        ConfigurationError: A collection cannot carry the type.
    """
    kind = value_type(field.type)
    if pa.types.is_null(kind):
        return None
    if is_text(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return "integer"
    if pa.types.is_floating(kind):
        return "number"
    raise ConfigurationError(
        f"carry: {field.name!r} in {file} is {field.type}, which a collection cannot carry",
        remedy="Carry strings, integers, floats, booleans, dates and timestamps.",
    )
