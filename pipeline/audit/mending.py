"""What a repair does around the ordinary flow, which writes the affected documents again.

Every step is written down in the ledger before Milvus is told, so that a repair that dies leaves
documents that the next run, or the next repair, takes up.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from embed_index.pipeline.audit.notes import AuditNotes
from embed_index.pipeline.corpus.source import FileMemory, RowBatch, Source
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.stages.deletion import DeletionLimits
from embed_index.pipeline.stages.store import Store
from embed_index.schemas.errors import ConfigurationError

_IDS_PER_STEP = 512


class AffectedDocuments:
    """The documents of a corpus that an audit found to be affected, each once."""

    def __init__(self, source: Source, notes: AuditNotes) -> None:
        self._source = source
        self._notes = notes

    def read(self, _memory: FileMemory | None = None, /) -> Iterator[RowBatch]:
        """Yield the affected documents in the corpus' order, and no dead letters."""
        for rows in self._source.read():
            affected = self._notes.take_affected(rows.doc_ids)
            places: dict[str, int] = {}
            for place, doc_id in enumerate(rows.doc_ids):
                if doc_id in affected:
                    places.setdefault(doc_id, place)
            yield rows.take(list(places.values()))


def begin_affected(notes: AuditNotes, *, ledger: DocumentLedger) -> int:
    """Have the ledger forget what it says of affected documents; return how many they are."""
    num_documents = 0
    for doc_ids in _steps(notes.affected()):
        ledger.register(doc_ids)
        ledger.begin([(doc_id, 0) for doc_id in doc_ids])
        num_documents += len(doc_ids)
    return num_documents


def delete_superfluous(notes: AuditNotes, *, store: Store, version: str) -> None:
    """Delete the rows that no document of the corpus calls for, and that bear foreign keys."""
    for keys in _steps(notes.superfluous()):
        store.delete_chunks(version, keys)


def delete_departed(
    notes: AuditNotes,
    *,
    ledger: DocumentLedger,
    store: Store,
    version: str,
    limits: DeletionLimits,
) -> int:
    """Delete the documents that the corpus does not have; return how many had rows.

    Those that the ledger knows go only where missing documents may be deleted; the rows of others
    were never written by a run.

    Raises:
        ConfigurationError: They are more than may be deleted; nothing was deleted.
    """
    for doc_ids in _steps(notes.departed(has_rows=False, recorded_too=True)):
        ledger.forget(doc_ids)
    num_documents = notes.num_documents_with_rows()
    num_departed = sum(1 for _ in notes.departed(has_rows=True, recorded_too=limits.allowed))
    limits.check_files(num_departed)
    if num_departed > limits.max_share * num_documents and not limits.force:
        raise ConfigurationError(
            f"repair: {num_departed:,} of {num_documents:,} documents are not in the corpus, more"
            f" than the share of {limits.max_share:.0%} that may be deleted; everything else is"
            " mended, and none of these was deleted",
            remedy="Check that --input names the whole corpus. If it does, repair once more with"
            " --force, or raise max_delete_share.",
        )
    for doc_ids in _steps(notes.departed(has_rows=True, recorded_too=limits.allowed)):
        recorded = _recorded(doc_ids, ledger=ledger)
        ledger.begin([(doc_id, 0) for doc_id in recorded])
        for rows in notes.rows_of(doc_ids).values():
            store.delete_chunks(version, [row.chunk_id for row in rows])
        ledger.forget(recorded)
    return num_departed


def _recorded(doc_ids: Sequence[str], *, ledger: DocumentLedger) -> list[str]:
    entries = ledger.lookup(doc_ids)
    return [entry.doc_id for entry in entries if entry is not None]


def _steps(ids: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(ids)
    while step := list(islice(remaining, _IDS_PER_STEP)):
        yield step
