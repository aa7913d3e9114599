"""The carried columns of all files together: their names, and the one type of each."""

from collections.abc import Sequence

import pyarrow as pa

from embed_index.pipeline.corpus.files import CorpusFile
from embed_index.pipeline.corpus.layout import Columns, FileColumns, missing_column
from embed_index.schemas.columns import CarriedColumn, CarriedType
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.names import carried_source


class CarriedLayout:
    """The carried columns of a corpus, which have one type in all of its files."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._names = [carried_source(entry)[1] for entry in columns.carry]
        self._types: list[CarriedType | None] = [None] * len(self._names)
        self._first: list[CorpusFile | None] = [None] * len(self._names)
        self._is_mixed = [False] * len(self._names)
        self._json_is_text = [True] * len(self._names)
        """Whether what says JSON, where anything does, is text."""
        self._lacking: list[list[CorpusFile]] = [[] for _ in self._names]
        self._not_in_condition: dict[str, int] = {}
        self._is_settled = False

    def add(self, file: CorpusFile, columns: FileColumns) -> None:
        """Take in what one file has.

        Raises:
            ConfigurationError: Another file has another type.
        """
        for place, column in enumerate(columns.carried):
            if column is None:
                self._lacking[place].append(file)
            elif column.reading.carried is not None:
                if column.reading.carried == "json":
                    self._json_is_text[place] &= column.reading.may_be_text
                self._add(place, file, column.reading.carried)
        if columns.condition is not None:
            for name, column in zip(columns.condition.names, columns.where, strict=True):
                absent = self._not_in_condition.get(name, 0)
                self._not_in_condition[name] = absent + (column is None)

    def _add(self, place: int, file: CorpusFile, here: CarriedType) -> None:
        there = self._types[place]
        if {here, there} == {"integer", "number"}:
            # Rows whose numbers are not exactly the same in both are refused, one by one.
            self._is_mixed[place] = True
            here = there if self._is_settled and there is not None else "number"
        elif {here, there} == {"json", "text"} and self._can_be_text(place):
            here = "text"
        elif there is not None and here != there:
            raise ConfigurationError(
                f"carry: {self._names[place]!r} is {here} in {file}"
                f" but {there} in {self._first[place] or 'the collection'}",
                remedy="Write the files with one type for the column, or do not carry it.",
            )
        self._types[place] = here
        self._first[place] = self._first[place] or file

    def _can_be_text(self, place: int) -> bool:
        made_json = self._is_settled and self._types[place] == "json"
        return self._json_is_text[place] and not made_json

    def check(self, schema: pa.Schema, *, num_files: int) -> list[str]:
        """Return which columns some files lack, for people.

        Args:
            schema: Of the first file.
            num_files: So many were taken in.

        Raises:
            ConfigurationError: A column is in no file.
        """
        notices = []
        for name, absent in self._not_in_condition.items():
            if absent == num_files:
                raise missing_column("where", name, file="the corpus", schema=schema)
        for place, lacking in enumerate(self._lacking):
            name, _ = carried_source(self._columns.carry[place])
            if len(lacking) == num_files:
                raise missing_column("carry", name, file=lacking[0], schema=schema)
            if lacking:
                notices.append(
                    f"carry: {name} is in no column of {len(lacking):,} of {num_files:,} files,"
                    f" such as {lacking[0]}; it is null in their rows"
                )
        return notices

    def settle(self, known: Sequence[CarriedColumn] = ()) -> tuple[CarriedColumn, ...]:
        """Return the columns, of the types that the collection has where files leave it open.

        They leave it open where all is null, where integers and floats meet, and where all is text
        that says JSON.
        """
        stored = {column.name: column for column in known}
        columns = []
        for place, (name, here) in enumerate(zip(self._names, self._types, strict=True)):
            there = stored[name].type if name in stored else None
            kind = here
            is_open = self._first[place] is None
            is_open |= self._is_mixed[place] and there == "integer"
            is_open |= here == "json" and there == "text" and self._json_is_text[place]
            if is_open:
                kind = there
            columns.append(CarriedColumn(name=name, type=kind or "text"))
        self._types = [column.type for column in columns]
        self._is_settled = True
        return tuple(columns)
