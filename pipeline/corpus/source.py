"""The seam behind which documents are read, and the rows that come from there.

Rows come in columns, because most of them need no record each.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.corpus.carried import CarriedRows
from embed_index.pipeline.corpus.text_column import TextColumn
from embed_index.schemas.records import (
    CarriedValue,
    DeadLetter,
    Document,
    FileRecord,
    SourceRow,
    Words,
    about_of,
)


@dataclass(frozen=True, slots=True)
class RowPlaces:
    """Where the rows of a batch stand: in spans of consecutive rows, one after the other."""

    first_rows: Sequence[SourceRow]
    """Of each span."""
    ends: Sequence[int]
    """How many rows there are up to the end of each span."""
    numbers: NDArray[np.int64]
    """Of the rows that are meant, counted over all spans."""

    @classmethod
    def of_spans(cls, spans: Sequence[tuple[SourceRow, int]]) -> Self:
        """Return the places of all rows of spans, given as first row and number of rows."""
        ends = list(accumulate(num_rows for _, num_rows in spans))
        return cls([first for first, _ in spans], ends, np.arange(ends[-1] if ends else 0))

    def source(self, row: int) -> SourceRow:
        """Return where a row of the batch stands."""
        number = int(self.numbers[row])
        span = bisect_right(self.ends, number)
        first = self.first_rows[span]
        begin = self.ends[span - 1] if span else 0
        return replace(first, row=first.row + number - begin)

    def file_ends(self) -> list[tuple[str, int]]:
        """Return, file by file, its name and how many of the rows meant come up to its end."""
        paths = [first.path for first in self.first_rows]
        last = [n for n, path in enumerate(paths) if [path] != paths[n + 1 : n + 2]]
        ends = np.searchsorted(self.numbers, [self.ends[place] for place in last])
        return list(zip([paths[place] for place in last], ends.tolist(), strict=True))

    def take(self, rows: Sequence[int]) -> "RowPlaces":
        """Return the places of some of the rows, in the order given."""
        return replace(self, numbers=self.numbers[np.asarray(rows, dtype=np.int64)])


@dataclass(frozen=True, kw_only=True)
class RowBatch:
    """Some rows of the corpus in its order: the good ones in columns of equal length, the bad.

    What is a list here is made of the columns when it is first asked for.
    """

    places: RowPlaces
    ids: TextColumn
    texts: TextColumn
    carried_rows: CarriedRows
    text_hashes: NDArray[np.uint8]
    """Content hashes of the texts, in rows of bytes."""
    dead_letters: Sequence[DeadLetter]
    ids_left_out: Sequence[str] = ()
    """Of rows that are not wanted, as far as they have ids: these documents are not missing."""
    num_left_out: int = 0
    prefix_places: Sequence[int] = ()
    """Which of the carried values say what a document is about."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def doc_ids(self) -> Sequence[str]:
        """The document ids."""
        return self.ids.strings()

    @cached_property
    def doc_hashes(self) -> Sequence[str]:
        """Content hashes of the texts, 32 hexadecimal digits."""
        return [row.tobytes().hex() for row in self.text_hashes]

    @property
    def carried(self) -> Sequence[tuple[CarriedValue, ...]]:
        """Carried values, in the order of the schema's carried columns."""
        return self.carried_rows.rows

    @property
    def carried_hashes(self) -> Sequence[str]:
        """Hashes of the carried values, 32 hexadecimal digits."""
        return self.carried_rows.hashes

    def words(self) -> Iterator[Words]:
        """Yield, column by column, numbers that tell every good row from any other."""
        yield self.ids.words()
        yield np.ascontiguousarray(self.text_hashes).view("<u4").astype(np.uint64)
        yield from self.carried_rows.words()

    def file_ends(self) -> list[tuple[str, int]]:
        """Return, file by file, its name and how many good rows come up to its end."""
        return self.places.file_ends()

    def source(self, place: int) -> SourceRow:
        """Return where a good row stands in the corpus."""
        return self.places.source(place)

    def sources(self) -> list[str]:
        """Return where the good rows stand, as text."""
        return [str(self.source(place)) for place in range(len(self))]

    def document(self, place: int) -> Document:
        """Return a good row as a record."""
        text = self.texts[place]
        assert isinstance(text, str)
        return Document(
            doc_id=self.doc_ids[place],
            text=text,
            carried=self.carried[place],
            source=self.source(place),
            doc_hash=self.doc_hashes[place],
            about=self.about(place),
        )

    def about(self, place: int) -> str:
        """Return what a good row's document is about, as the model sees it before each chunk."""
        if not self.prefix_places:
            return ""
        carried = self.carried[place]
        return about_of(carried[number] for number in self.prefix_places)

    def take(self, places: Sequence[int], *, dead_letters: Iterable[DeadLetter] = ()) -> "RowBatch":
        """Return a batch of some of the good rows, in order, and these dead letters."""
        return RowBatch(
            places=self.places.take(places),
            ids=self.ids.take(places),
            texts=self.texts.take(places),
            carried_rows=self.carried_rows.take(places),
            text_hashes=self.text_hashes[np.asarray(places, dtype=np.int64)],
            dead_letters=tuple(dead_letters),
            prefix_places=self.prefix_places,
        )


class FirstDocuments:
    """The first good rows of a corpus, and the bad ones among and shortly behind them."""

    def __init__(self, source: "Source", limit: int) -> None:
        self._source = source
        self._limit = limit

    def read(self, _memory: "FileMemory | None" = None, /) -> Iterator[RowBatch]:
        """Yield so many good rows; what is behind them is not read."""
        remaining = self._limit
        for rows in self._source.read():
            if len(rows) > remaining:
                rows = rows.take(range(remaining), dead_letters=rows.dead_letters)  # noqa: PLW2901
            remaining -= len(rows)
            yield rows
            if not remaining:
                return


class HashedFile(NamedTuple):
    """A file as it is met, not read."""

    digest: bytes
    name: str
    modified_ns: int


class FileMemory(Protocol):
    """What is remembered of a corpus' files between two readings of them."""

    def digest(self, file: Path, *, num_bytes: int, reading: bytes) -> bytes | None:
        """Return a digest of a file's bytes and of how they are read; None if it is not worth it.

        Raises:
            OSError: The file cannot be read.
        """

    def knows(self, digest: bytes) -> bool:
        """Tell whether the last pass had such a file."""

    def holds(self, files: Sequence[HashedFile]) -> bool:
        """Tell whether all documents of files that are known are as they were; then they are met.

        Those that stand before them in the corpus must be met already.
        """

    def note(self, file: FileRecord) -> None:
        """Take note of a file that was read to its end."""


class Source(Protocol):
    """Where documents come from."""

    def read(self, memory: FileMemory | None = None, /) -> Iterator[RowBatch]:
        """Yield the rows of the corpus, in the same order every time.

        Args:
            memory: Spares the reading of files that are as they were, where whole files are read.
        """
