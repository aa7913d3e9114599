"""Documents for the tests of the ledger, and the way to write them there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerDocument, LedgerEntry
from embed_index.schemas.ids import text_hash
from embed_index.schemas.records import Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Some documents as a corpus has them, without their texts."""

    doc_ids: Sequence[str]
    doc_hashes: Sequence[str]
    carried_hashes: Sequence[str]
    file: str = "all.parquet"

    def file_ends(self) -> list[tuple[str, int]]:
        return [(self.file, len(self.doc_ids))]

    def words(self) -> Iterator[Words]:
        for column in (self.doc_ids, self.doc_hashes, self.carried_hashes):
            # All are ASCII and none ends with NUL.
            padded = np.array(column, dtype="S64")
            yield padded.view("<u4").reshape(len(column), 16).astype(np.uint64)

    def take(self, places: Sequence[int]) -> "Documents":
        return Documents(
            doc_ids=[self.doc_ids[place] for place in places],
            doc_hashes=[self.doc_hashes[place] for place in places],
            carried_hashes=[self.carried_hashes[place] for place in places],
        )


def committed(
    doc_id: str,
    *,
    text: str = "a",
    carried: str = "c",
    num_chunks: int = 1,
) -> LedgerDocument:
    return LedgerDocument(
        doc_id=doc_id,
        doc_hash=text_hash(text),
        carried_hash=text_hash(carried),
        num_chunks=num_chunks,
        chunk_hashes=bytes(16 * num_chunks),
    )


def stretch_of(*documents: LedgerDocument) -> Documents:
    return Documents(
        doc_ids=[document.doc_id for document in documents],
        doc_hashes=[document.doc_hash or "" for document in documents],
        carried_hashes=[document.carried_hash or "" for document in documents],
    )


def write(ledger: DocumentLedger, *documents: LedgerDocument, run: int = 1) -> None:
    ledger.register(document.doc_id for document in documents)
    ledger.begin([(document.doc_id, document.num_chunks) for document in documents])
    ledger.commit(documents, run=run)


def only(ledger: DocumentLedger, doc_id: str) -> LedgerEntry:
    (entry,) = ledger.lookup([doc_id])
    assert entry is not None
    return entry
