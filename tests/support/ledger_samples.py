"""Documents for the tests of the ledger, and the way to write them there."""

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerDocument, LedgerEntry
from embed_index.pipeline.ledger.stretches import Stretch
from embed_index.schemas.ids import text_hash


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


def stretch_of(*documents: LedgerDocument) -> Stretch:
    return Stretch(
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
