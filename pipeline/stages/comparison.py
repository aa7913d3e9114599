"""One pass of a run over the corpus: what is new, changed, to refresh, repeated, missing."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.ledger.digests import Digests
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerEntry
from embed_index.pipeline.ledger.seen_rows import RowIds, SeenRows
from embed_index.pipeline.ledger.stretches import (
    PROOF_BYTES,
    Proposal,
    Stretch,
    Stretches,
    digest_of,
    prove,
)

Change: TypeAlias = Literal["new", "changed", "refresh", "duplicate"]
"""What to do with a document: embed it, embed it over an older version, write its metadata again
with the vectors that are there, or make it a dead letter because its id came before."""


class Difference(NamedTuple):
    """A document of a stretch that is not in the ledger just so."""

    place: int
    """Index into the stretch."""
    change: Change
    entry: LedgerEntry
    """As it was when compared; a new document's is registered, and may have been begun."""


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
        self._by_file: dict[str, list[tuple[bytes, int]]] = {}

    def compare(self, stretch: Stretch) -> list[Difference]:
        """Return the documents that need work, in order; the others are unchanged.

        An unchanged stretch costs least when the source cuts the corpus as in the last run, and
        little more when its documents only moved. Unknown documents are registered; nothing is
        written for unchanged ones, but what lets the next run recognise them.
        """
        digests = self._stretches.digests(stretch)
        segments = _segments(stretch, digests)
        sealed = self._stretches.find([segment.digest for segment in segments])
        rows: RowIds = np.zeros(len(digests), dtype=np.int64)
        for segment, there in zip(segments, sealed, strict=True):
            if there is not None:
                rows[segment.part] = there
        moved = np.flatnonzero(rows == 0)
        if moved.size:
            rows[moved] = self._stretches.find_documents(digests[moved])
        unproven = np.flatnonzero(rows == 0)
        # Taking nothing of a batch costs something, too.
        unknown = stretch.take(unproven.tolist()) if unproven.size else None
        entries = self._registered(unknown.doc_ids) if unknown else []
        rows[unproven] = [entry.row for entry in entries]
        is_first = self._seen.add(rows)
        proofs = _Proofs(unproven, unknown)
        for segment, there in zip(segments, sealed, strict=True):
            if not is_first[segment.part].all():
                continue
            if there is not None:
                self._stretches.meet(segment.digest)
            else:
                part = segment.part
                known = rows[part], digests[part]
                self._stretches.propose(Proposal(segment.digest, *known, *proofs.of(part)))
            in_file = self._by_file.setdefault(segment.file, [])
            in_file.append((segment.digest, segment.num_documents))
        found = dict(differences_of(unproven.tolist(), unknown, entries=entries)) if unknown else {}
        repeated = np.flatnonzero(~is_first).tolist()
        again = self._registered(stretch.take(repeated).doc_ids) if repeated else []
        for place, entry in zip(repeated, again, strict=True):
            found[place] = Difference(place, "duplicate", entry)
        return [found[place] for place in sorted(found)]

    def meet(self, stretches: Sequence[bytes]) -> bool:
        """Take stretches for read if the ledger has all of them exactly so, and none was met yet.

        Otherwise none of them is taken.

        Args:
            stretches: Digests of them, as `stretches_of` returns them.
        """
        found = [rows for rows in self._stretches.find(stretches) if rows is not None]
        if len(found) < len(stretches):
            return False
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *found])
        if np.unique(rows).size < rows.size or self._seen.contains(rows).any():
            return False
        self._seen.add(rows)
        for digest in stretches:
            self._stretches.meet(digest)
        return True

    def stretches_of(self, file: str) -> tuple[Sequence[bytes], int]:
        """Return the digests of a file's stretches, without repeated ones, and their documents."""
        known = self._by_file.get(file, [])
        return [digest for digest, _ in known], sum(num_documents for _, num_documents in known)

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

    def seal(self) -> set[bytes]:
        """Let the next run recognise this pass's stretches; only after a full pass is committed.

        Returns the digests of all that it will.
        """
        return self._stretches.seal()

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


class _Segment(NamedTuple):
    """The documents of one file in a batch, which are a stretch by themselves."""

    file: str
    part: slice
    """Of the batch."""
    digest: bytes

    @property
    def num_documents(self) -> int:
        return int(self.part.stop - self.part.start)


def _segments(stretch: Stretch, digests: Digests) -> list[_Segment]:
    segments, start = [], 0
    for file, end in stretch.file_ends():
        if end > start:
            segments.append(_Segment(file, slice(start, end), digest_of(digests[start:end])))
        start = end
    return segments


class _Proofs:
    """What proves, once they are committed, the documents of a batch that nothing proves yet."""

    def __init__(self, places: NDArray[np.int64], documents: Stretch | None) -> None:
        self._places = places
        self._proofs = b""
        if documents is not None:
            columns = documents.doc_ids, documents.doc_hashes, documents.carried_hashes
            self._proofs = prove(*columns)

    def of(self, part: slice) -> tuple[Sequence[int], bytes]:
        """Return the places of those in a part of the batch, counted from its start."""
        first, last = np.searchsorted(self._places, (part.start, part.stop)).tolist()
        places = (self._places[first:last] - part.start).tolist()
        return places, self._proofs[first * PROOF_BYTES : last * PROOF_BYTES]


def differences_of(
    places: Sequence[int], documents: Stretch, *, entries: Sequence[LedgerEntry]
) -> Iterator[tuple[int, Difference]]:
    """Yield how documents differ from the ledger's entries, by their places in the stretch."""
    hashes = zip(documents.doc_hashes, documents.carried_hashes, strict=True)
    for place, entry, (doc_hash, carried_hash) in zip(places, entries, hashes, strict=True):
        if not entry.was_committed:
            yield place, Difference(place, "new", entry)
        elif entry.doc_hash != doc_hash:
            yield place, Difference(place, "changed", entry)
        elif entry.carried_hash != carried_hash:
            yield place, Difference(place, "refresh", entry)
