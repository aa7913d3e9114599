"""One pass of a run over the corpus: what is new, changed, to refresh, repeated, missing."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerEntry
from embed_index.pipeline.ledger.seen_rows import RowIds, SeenRows
from embed_index.pipeline.ledger.stretches import (
    Stretch,
    find_sealed_rows,
    propose_stretch,
    seal_stretches,
)

Change: TypeAlias = Literal["new", "changed", "refresh", "duplicate"]
"""What to do with a document: embed it, embed it over an older version, write its metadata again
with the vectors that are there, or make it a dead letter because its id came before."""

_MIN_STRETCH = 64
"""Remembering a shorter stretch would cost more than comparing its documents one by one."""


class Difference(NamedTuple):
    """A document of a stretch that is not in the ledger just so."""

    place: int
    """Index into the stretch."""
    change: Change
    entry: LedgerEntry
    """As it was when compared; a new document's is registered, with no chunks."""


class CorpusPass:
    """Compares the corpus, stretch by stretch, with the ledger of one version.

    Memory is two bits a document. A pass belongs to one thread; the ledger does not.
    """

    def __init__(self, documents: DocumentLedger) -> None:
        self._documents = documents
        self._seen = SeenRows()
        self._kept = SeenRows()
        self._digests: set[bytes] = set()
        self._num_removed = documents.num_removed

    def compare(self, stretch: Stretch) -> list[Difference]:
        """Return the documents that need work, in order; the others are unchanged.

        An unchanged stretch costs least when the source cuts the corpus as in the last run.
        Unknown documents are registered; nothing is written for unchanged ones.
        """
        file, version_id = self._documents.file, self._documents.version_id
        digest = stretch.digest()
        sealed = find_sealed_rows(file, version_id=version_id, digest=digest)
        if sealed is not None and not self._seen.contains(sealed).any():
            self._seen.add(sealed)
            self._digests.add(digest)
            return []
        entries = self._registered(stretch.doc_ids)
        rows: RowIds = np.fromiter((entry.row for entry in entries), np.int64, len(entries))
        is_first = self._seen.add(rows)
        if len(entries) >= _MIN_STRETCH and is_first.all():
            propose_stretch(file, version_id=version_id, digest=digest, rows=rows)
            self._digests.add(digest)
        return list(_differences(stretch, entries=entries, is_first=is_first.tolist()))

    def keep(self, doc_ids: Sequence[str]) -> None:
        """Exempt documents from `missing`: their row is in the corpus, though unusable."""
        rows = [entry.row for entry in self._documents.lookup(doc_ids) if entry is not None]
        self._kept.add(np.array(rows, dtype=np.int64))

    def missing(self) -> Iterator[LedgerEntry]:
        """Yield the ledger's documents that the corpus no longer has; only after a full pass.

        Documents may be deleted from the ledger while this is read.
        """
        # Every seen row is in the ledger unless rows were removed, so equal numbers are equal sets.
        nothing_removed = self._documents.num_removed == self._num_removed
        if nothing_removed and len(self._seen) == self._documents.num_documents():
            return iter(())
        return self._documents.missing(self._seen, self._kept)

    def seal(self) -> None:
        """Let the next run recognise this pass's stretches; only after a full pass is committed."""
        seal_stretches(
            self._documents.file, version_id=self._documents.version_id, met=self._digests
        )

    def _registered(self, doc_ids: Sequence[str]) -> list[LedgerEntry]:
        entries = self._documents.lookup(doc_ids)
        unknown = {doc_id for doc_id, entry in zip(doc_ids, entries, strict=True) if entry is None}
        if unknown:
            self._documents.register(doc_id for doc_id in doc_ids if doc_id in unknown)
            entries = self._documents.lookup(doc_ids)
        return [entry for entry in entries if entry is not None]


def _differences(
    stretch: Stretch, *, entries: list[LedgerEntry], is_first: list[bool]
) -> Iterator[Difference]:
    columns = zip(
        entries,
        is_first,
        stretch.doc_hashes,
        stretch.carried_hashes,
        stretch.sources,
        strict=True,
    )
    for place, (entry, first, doc_hash, carried_hash, source) in enumerate(columns):
        if not first:
            yield Difference(place, "duplicate", entry)
        elif entry.doc_hash is None and entry.max_chunks == 0:
            yield Difference(place, "new", entry)
        elif entry.doc_hash != doc_hash:
            yield Difference(place, "changed", entry)
        elif entry.carried_hash != carried_hash or entry.source != source:
            yield Difference(place, "refresh", entry)
