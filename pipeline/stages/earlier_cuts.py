"""Documents that an older splitter cut: their chunks stay what they are while their text does.

Rows say where chunks begin and end. So a collection that is older than the rules for cuts needs
neither those rules nor new vectors: what its rows cover exactly is as good as ever.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from embed_index.pipeline.ledger.entries import LedgerEntry
from embed_index.pipeline.model.splitter import Splitter
from embed_index.pipeline.stages.open_documents import chunks_of
from embed_index.pipeline.stages.store import ChunkReader
from embed_index.schemas.ids import chunk_id
from embed_index.schemas.records import Chunk, Document


class StoredPlace(Protocol):
    """What a row says of where its chunk stands."""

    @property
    def chunk_index(self) -> int:
        """Of the chunk within its document."""

    @property
    def num_chunks(self) -> int:
        """Of the document."""

    @property
    def char_start(self) -> int:
        """Where it begins."""

    @property
    def char_end(self) -> int:
        """Where it ends."""

    @property
    def doc_hash(self) -> str:
        """Of the document's text."""


class EarlierCuts:
    """Finds the cuts of documents in the rows of a version."""

    def __init__(self, *, reader: ChunkReader, version: str, splitter: Splitter) -> None:
        self._reader = reader
        self._version = version
        self._splitter = splitter

    def find(
        self, documents: Iterable[tuple[Document, LedgerEntry]]
    ) -> dict[str, tuple[Chunk, ...]]:
        """Return the chunks, by id, of those documents whose rows show all of them."""
        known = {document.doc_id: (document, entry) for document, entry in documents}
        keys = {
            doc_id: [chunk_id(doc_id, index) for index in range(entry.max_chunks)]
            for doc_id, (_, entry) in known.items()
        }
        rows = self._reader.fetch_chunks(
            self._version, [key for ids in keys.values() for key in ids]
        )
        found = {}
        for doc_id, ids in keys.items():
            stored = [rows[key] for key in ids if key in rows]
            chunks = cut_as_stored(known[doc_id][0], stored, splitter=self._splitter)
            if chunks is not None:
                found[doc_id] = chunks
        return found


def cut_as_stored(
    document: Document, rows: Sequence[StoredPlace], *, splitter: Splitter
) -> tuple[Chunk, ...] | None:
    """Cut a document where its rows say; None where these do not cover its text.

    A chunk may lack its row, such as one that could not be embedded, where its neighbours show what
    it was.
    """
    places = _places([row for row in rows if row.doc_hash == document.doc_hash], document.text)
    if places is None:
        return None
    spans = tuple(splitter.restore(document.text, places, about=document.about))
    if any(span.token_ids.size > splitter.max_tokens for span in spans):
        # What the model sees before the text has grown.
        return None
    return chunks_of(document, spans)


def _places(rows: Sequence[StoredPlace], text: str) -> list[tuple[int, int]] | None:
    """Return where the chunks begin and end that rows are of, if they cover the text."""
    num_chunks = {row.num_chunks for row in rows}
    if len(num_chunks) != 1:
        return None
    by_index = {row.chunk_index: (row.char_start, row.char_end) for row in rows}
    places: list[tuple[int, int]] = []
    for index in range(num_chunks.pop()):
        before = places[-1] if places else (-1, 0)
        begin, end = by_index.get(index) or (
            before[1],
            by_index.get(index + 1, (len(text),))[0],
        )
        if not before[0] < begin <= before[1] < end <= len(text):
            return None
        places.append((begin, end))
    return places if places and places[-1][1] == len(text) else None
