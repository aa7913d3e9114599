"""All that a ledger says of a version's documents, for a copy of the version."""

from collections.abc import Iterator
from itertools import groupby

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerDocument
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.schemas.records import DeadLetter

_PAGE_ROWS = 1024
_LAST_RUN = (1 << 63) - 1


def whole_documents(documents: DocumentLedger) -> Iterator[LedgerDocument]:
    """Yield every document, oldest first, as `replace_all` takes it; nobody writes meanwhile."""
    last = 0
    while page := documents.file.query(
        "SELECT id, doc_id, doc_hash, carried_hash, num_chunks, chunk_hashes, max_chunks"
        " FROM documents WHERE id > ? AND +version_id = ? ORDER BY id LIMIT ?",
        (last, documents.version_id, _PAGE_ROWS),
    ):
        first, last = page[0][0], page[-1][0]
        dead = documents.file.query(
            "SELECT document, chunk_index FROM dead_chunks WHERE document BETWEEN ? AND ?"
            " ORDER BY document, chunk_index",
            (first, last),
        )
        dead_by_row = {
            row: tuple(index for _, index in group)
            for row, group in groupby(dead, key=lambda found: found[0])
        }
        for row, doc_id, doc_hash, carried_hash, num_chunks, chunk_hashes, max_chunks in page:
            yield LedgerDocument(
                doc_id=doc_id,
                doc_hash=doc_hash,
                carried_hash=carried_hash,
                num_chunks=num_chunks,
                chunk_hashes=chunk_hashes,
                dead_chunks=dead_by_row.get(row, ()),
                max_chunks=max_chunks,
            )


def dead_letters_of(ledger: Ledger, version: str) -> Iterator[DeadLetter]:
    """Yield a letter for each document of a version some of whose chunks are dead."""
    told: int | None = None
    for step in ledger.dead_letters.of_dead_chunks(version, run=_LAST_RUN):
        for row, letter in step:
            if row != told:
                yield letter
            told = row
