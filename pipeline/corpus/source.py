"""The seam behind which documents are read, and the rows that come from there.

Rows come in columns, because most of them need no record each.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from embed_index.pipeline.corpus.text_column import TextColumn
from embed_index.schemas.records import CarriedValue, DeadLetter, Document, SourceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBatch:
    """Some consecutive rows of one row group: the good ones in columns of equal length, the bad."""

    path: str
    row_group: int
    rows: Sequence[int]
    """Where the good rows stand, counted from 0 within the row group."""
    doc_ids: Sequence[str]
    texts: TextColumn
    carried: Sequence[tuple[CarriedValue, ...]]
    """In the order of the schema's carried columns."""
    doc_hashes: Sequence[str]
    """Content hashes of the texts, 32 hexadecimal digits."""
    dead_letters: Sequence[DeadLetter]

    def __len__(self) -> int:
        return len(self.rows)

    def source(self, place: int) -> SourceRow:
        """Return where a good row stands in the corpus."""
        return SourceRow(path=self.path, row_group=self.row_group, row=self.rows[place])

    def sources(self) -> list[str]:
        """Return where the good rows stand, as text."""
        start = str(SourceRow(path=self.path, row_group=self.row_group, row=0))[:-1]
        return [f"{start}{row}" for row in self.rows]

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
        )

    def take(self, places: Sequence[int], *, dead_letters: Iterable[DeadLetter] = ()) -> "RowBatch":
        """Return a batch of some of the good rows, in order, and these dead letters."""
        return replace(
            self,
            rows=[self.rows[place] for place in places],
            doc_ids=[self.doc_ids[place] for place in places],
            texts=self.texts.take(places),
            carried=[self.carried[place] for place in places],
            doc_hashes=[self.doc_hashes[place] for place in places],
            dead_letters=tuple(dead_letters),
        )


class Source(Protocol):
    """Where documents come from."""

    def read(self) -> Iterator[RowBatch]:
        """Yield the rows of the corpus, in the same order every time."""
