"""What differs between a document of the corpus, its rows and the ledger's word about it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from embed_index.pipeline.ledger.entries import LedgerEntry
from embed_index.pipeline.milvus.images import RowImage
from embed_index.schemas.audit_findings import DriftKind, Finding
from embed_index.schemas.ids import carried_hash
from embed_index.schemas.records import Document


class Recorded(NamedTuple):
    """What the ledger says of a document."""

    entry: LedgerEntry | None
    """None where it does not know the document."""
    chunk_hashes: bytes
    is_refused: bool
    """Whether a dead letter says that some of its chunks cannot be embedded."""
    dead_chunks: frozenset[int]
    """Indexes of the chunks that the document was committed without."""

    @property
    def may_lack_chunks(self) -> bool:
        """Whether it is known that the document is not whole, and why."""
        return self.is_refused and (self.entry is None or self.entry.doc_hash is None)


def compare_document(
    document: Document,
    *,
    wanted: Sequence[RowImage],
    stored: Sequence[RowImage],
    recorded: Recorded,
    chunk_hashes: bytes,
) -> Iterator[Finding]:
    """Yield what is not as it should be with one document.

    Args:
        document: As the corpus has it.
        wanted: The rows that its chunks call for.
        stored: The rows that Milvus holds of it, under keys that are ours.
        recorded: What the ledger says.
        chunk_hashes: Of all chunks, as the ledger should have them.
    """
    doc_id = document.doc_id
    by_key = {row.chunk_id: row for row in stored}
    for row in wanted:
        there = by_key.pop(row.chunk_id, None)
        if there is not None:
            yield from (Finding(kind, doc_id, row.chunk_id) for kind in compare_row(row, there))
        elif not recorded.may_lack_chunks and row.chunk_index not in recorded.dead_chunks:
            yield Finding("missing", doc_id, row.chunk_id)
    yield from (Finding("orphaned", doc_id, key) for key in by_key)
    if not recorded.may_lack_chunks:
        kind = _compare_record(
            document, recorded, num_chunks=len(wanted), chunk_hashes=chunk_hashes
        )
        if kind is None and any(row.chunk_index in recorded.dead_chunks for row in stored):
            kind = "misrecorded"
        if kind is not None:
            yield Finding(kind, doc_id)


def compare_row(wanted: RowImage, there: RowImage) -> Iterator[DriftKind]:
    """Yield how the row under a chunk's key differs from what it should be.

    Its source is where the document stood when the row was written, and may be another by now.
    """
    if there.doc_hash != wanted.doc_hash:
        yield "stale"
    elif there._replace(carried_hash=wanted.carried_hash, source=wanted.source) != wanted:
        yield "altered"
    if there.carried_hash != wanted.carried_hash:
        yield "metadata"


def _compare_record(
    document: Document, recorded: Recorded, *, num_chunks: int, chunk_hashes: bytes
) -> DriftKind | None:
    entry = recorded.entry
    if entry is None:
        return "unrecorded"
    if entry.doc_hash is None or entry.carried_hash is None:
        return "pending"
    should_be = (
        document.doc_hash,
        carried_hash(document.carried),
        num_chunks,
        num_chunks,
    )
    found = (
        entry.doc_hash,
        entry.carried_hash,
        entry.num_chunks,
        entry.max_chunks,
    )
    # A rebuilt ledger does not know the hashes of texts that Milvus could not hold whole.
    if found != should_be or recorded.chunk_hashes not in (b"", chunk_hashes):
        return "misrecorded"
    return None
