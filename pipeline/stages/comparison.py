"""One pass of a run over the corpus: what is new, changed, to refresh, repeated, missing."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from embed_index.pipeline.corpus.source import RowBatch
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerEntry
from embed_index.pipeline.ledger.seen_rows import SeenRows
from embed_index.pipeline.ledger.stretches import Proposal, Stretch, Stretches
from embed_index.schemas.ids import carried_hashes

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
        digest = stretch.digest()
        sealed = self._stretches.find(digest)
        if sealed is not None and not self._seen.contains(sealed).any():
            self._seen.add(sealed)
            self._stretches.meet(digest)
            return []
        digests = stretch.document_digests()
        rows = self._stretches.find_documents(digests)
        unproven = np.flatnonzero(rows == 0).tolist()
        entries = dict(
            zip(unproven, self._registered([stretch.doc_ids[x] for x in unproven]), strict=True)
        )
        rows[unproven] = [entry.row for entry in entries.values()]
        is_first = self._seen.add(rows)
        if len(rows) >= _MIN_STRETCH and is_first.all():
            self._stretches.propose(Proposal(digest, rows, digests, unproven))
        repeated = np.flatnonzero(~is_first).tolist()
        again = [place for place in repeated if place not in entries]
        entries |= zip(again, self._registered([stretch.doc_ids[x] for x in again]), strict=True)
        return list(_differences(stretch, entries=entries, repeated=set(repeated)))

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


def _differences(
    stretch: Stretch, *, entries: Mapping[int, LedgerEntry], repeated: Collection[int]
) -> Iterator[Difference]:
    for place in sorted(entries):
        entry = entries[place]
        if place in repeated:
            yield Difference(place, "duplicate", entry)
        elif entry.doc_hash is None and entry.max_chunks == 0:
            yield Difference(place, "new", entry)
        elif entry.doc_hash != stretch.doc_hashes[place]:
            yield Difference(place, "changed", entry)
        elif entry.carried_hash != stretch.carried_hashes[place]:
            yield Difference(place, "refresh", entry)


def stretch_of(rows: RowBatch) -> Stretch:
    """Return what the ledger compares of some rows."""
    return Stretch(
        doc_ids=rows.doc_ids,
        doc_hashes=rows.doc_hashes,
        carried_hashes=carried_hashes(rows.carried),
    )
