"""One pass of a run over the corpus: what is new, changed, to refresh, repeated, missing."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerEntry
from embed_index.pipeline.ledger.seen_rows import SeenRows
from embed_index.pipeline.ledger.stretches import (
    Proposal,
    Stretch,
    Stretches,
    digest_of,
    prove,
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

    Where a document stands does not count. Memory is two bits a document, and what `Stretches`
    needs. A pass belongs to one thread; the ledger does not.
    """

    def __init__(self, documents: DocumentLedger) -> None:
        self._documents = documents
        self._seen = SeenRows()
        self._kept = SeenRows()
        self._num_removed = documents.num_removed

    def compare(self, stretch: Stretch) -> list[Difference]:
        """Return the documents that need work, in order; the others are unchanged.

        An unchanged stretch costs least when the source cuts the corpus as in the last run, and
        little more when its documents only moved. Unknown documents are registered; nothing is
        written for unchanged ones, but what lets the next run recognise them.
        """
        digests = self._stretches.digests(stretch)
        digest = digest_of(digests)
        sealed = self._stretches.find(digest)
        if sealed is not None and not self._seen.contains(sealed).any():
            self._seen.add(sealed)
            self._stretches.meet(digest)
            return []
        rows = self._stretches.find_documents(digests)
        unproven = np.flatnonzero(rows == 0)
        unknown = stretch.take(unproven.tolist())
        entries = self._registered(unknown.doc_ids)
        rows[unproven] = [entry.row for entry in entries]
        is_first = self._seen.add(rows)
        if len(rows) >= _MIN_STRETCH and is_first.all():
            proofs = prove(unknown.doc_ids, unknown.doc_hashes, unknown.carried_hashes)
            self._stretches.propose(Proposal(digest, rows, digests, unproven.tolist(), proofs))
        found = dict(differences_of(unproven.tolist(), unknown, entries=entries))
        repeated = np.flatnonzero(~is_first).tolist()
        again = self._registered(stretch.take(repeated).doc_ids)
        for place, entry in zip(repeated, again, strict=True):
            found[place] = Difference(place, "duplicate", entry)
        return [found[place] for place in sorted(found)]

    def keep(self, doc_ids: Sequence[str]) -> None:
        """Exempt documents from `missing`: their row is in the corpus, though unusable."""
        rows = [entry.row for entry in self._documents.lookup(doc_ids) if entry is not None]
        self._kept.add(np.array(rows, dtype=np.int64))

    def are_met(self, rows: Sequence[int]) -> list[bool]:
        """Say of the ledger's documents whether the corpus has them."""
        met: list[bool] = self._seen.contains(np.array(rows, dtype=np.int64)).tolist()
        return met

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
        self._stretches.seal()

    @cached_property
    def _stretches(self) -> Stretches:
        """Read when the pass begins: what was touched before it must be known."""
        return Stretches(self._documents.file, version_id=self._documents.version_id)

    def _registered(self, doc_ids: Sequence[str]) -> list[LedgerEntry]:
        entries = self._documents.lookup(doc_ids)
        unknown = {doc_id for doc_id, entry in zip(doc_ids, entries, strict=True) if entry is None}
        if unknown:
            self._documents.register(doc_id for doc_id in doc_ids if doc_id in unknown)
            entries = self._documents.lookup(doc_ids)
        return [entry for entry in entries if entry is not None]


def differences_of(
    places: Sequence[int], documents: Stretch, *, entries: Sequence[LedgerEntry]
) -> Iterator[tuple[int, Difference]]:
    """Yield how documents differ from the ledger's entries, by their places in the stretch."""
    hashes = zip(documents.doc_hashes, documents.carried_hashes, strict=True)
    for place, entry, (doc_hash, carried_hash) in zip(places, entries, hashes, strict=True):
        if entry.doc_hash is None and entry.max_chunks == 0:
            yield place, Difference(place, "new", entry)
        elif entry.doc_hash != doc_hash:
            yield place, Difference(place, "changed", entry)
        elif entry.carried_hash != carried_hash:
            yield place, Difference(place, "refresh", entry)
