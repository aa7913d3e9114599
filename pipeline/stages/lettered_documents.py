"""The documents of a corpus that open dead letters stand for."""

from collections.abc import Iterable, Iterator
from itertools import islice

from embed_index.pipeline.corpus.source import FileMemory, RowBatch, Source
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.letters import printable
from embed_index.schemas.records import DeadLetter, SourceRow

_IDS_PER_STEP = 512


class LetteredDocuments:
    """Reads what dead letters are about, and nothing else; memory grows with their number.

    A row that could not be read is known by its place, a document that failed later by its id; a
    file that could not be read stands for all of its rows. Every row that bears one of their ids is
    read, so that a repeated id is met as such.
    """

    def __init__(self, source: Source, letters: Iterable[DeadLetter]) -> None:
        self._source = source
        self._places: set[str] = set()
        self._files: set[str] = set()
        self._doc_ids: set[str] = set()
        for letter in letters:
            if letter.source.is_file:
                self._files.add(printable(letter.source.path))
            elif letter.stage == "read" or letter.doc_id is None:
                self._places.add(printable(str(letter.source)))
            else:
                self._doc_ids.add(letter.doc_id)
        self.readable: list[SourceRow] = []
        """Refused rows and files that could be read this time; complete when reading is over."""

    def read(self, _memory: FileMemory | None = None, /) -> Iterator[RowBatch]:
        """Yield the rows that the letters are about, good and bad, in the corpus' order."""
        if self._places or self._files:
            self._find_readable()
        for rows in self._source.read():
            places = [place for place, x in enumerate(rows.doc_ids) if x in self._doc_ids]
            letters = [x for x in rows.dead_letters if self._is_meant(x.source)]
            yield rows.take(places, dead_letters=letters)

    def _find_readable(self) -> None:
        met: set[str] = set()
        for rows in self._source.read():
            for place in range(len(rows)):
                source = rows.source(place)
                if self._is_meant(source):
                    self.readable.append(source)
                    self._doc_ids.add(rows.doc_ids[place])
                    met.add(source.path)
            met.difference_update(x.source.path for x in rows.dead_letters if x.source.is_file)
        files = (path for path in met if printable(path) in self._files)
        self.readable.extend(map(SourceRow.of_file, files))

    def _is_meant(self, source: SourceRow) -> bool:
        return printable(source.path) in self._files or printable(str(source)) in self._places


def begin_again(letters: Iterable[DeadLetter], *, ledger: DocumentLedger) -> None:
    """Have the ledger call for the documents that it holds to be settled with a dead chunk.

    Their vectors can be kept, as those of a document with other metadata are.
    """
    failed = (x.doc_id for x in letters if x.doc_id is not None and x.stage != "read")
    while doc_ids := list(islice(failed, _IDS_PER_STEP)):
        settled = [x.doc_id for x in ledger.lookup(doc_ids) if x is not None and x.doc_hash]
        ledger.begin_refresh(settled)
