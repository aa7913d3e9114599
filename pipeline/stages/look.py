"""The corpus compared with the ledger as a run compares it, and nothing written."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.ledger.digests import DocumentDigester
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerEntry
from embed_index.pipeline.ledger.seen_rows import SeenRows
from embed_index.pipeline.ledger.stretches import Stretch, Stretches, digest_of
from embed_index.pipeline.stages.comparison import Difference, differences_of

Keys = NDArray[np.uint64]
"""A number for each document id; two ids share one with a chance of 2**-64."""

_NO_ROW = 0
_UNKNOWN = LedgerEntry("", _NO_ROW, None, None, 0, 0, None)
"""Stands for every document that the ledger does not have."""


class CorpusLook:
    """Does what `CorpusPass` does up to the differences, for those who only want to know.

    Memory is a bit for each document that the ledger has, and 8 bytes for each that it has not.
    """

    def __init__(self, documents: DocumentLedger | None, *, seed: bytes) -> None:
        """Begin a look.

        Args:
            documents: Of the version; None where there is none, and all documents are new.
            seed: Of the numbers that stand for ids.
        """
        self._documents = documents
        self._digester = DocumentDigester(seed)
        self._seen = SeenRows()
        self._kept = SeenRows()
        self._new = SeenKeys()

    def keys(self, stretch: Stretch) -> Keys:
        """Return a number for each document, which looks random and follows from id and seed."""
        ids = next(iter(stretch.words()))
        return _mixed(self._digester.digest([ids])[:, 0])

    def compare(self, stretch: Stretch) -> list[Difference]:
        """Return the documents that a run would have to work on, in order.

        The entries of those that the ledger does not have are empty, ids included.
        """
        if self._documents is None:
            keys = self.keys(stretch)
            return self._of_new(keys, range(keys.size))
        digests = self._stretches.digests(stretch)
        (sealed,) = self._stretches.find([digest_of(digests)])
        if sealed is not None and not self._seen.contains(sealed).any():
            self._seen.add(sealed)
            return []
        found = self._stretches.find_documents(digests)
        unproven = np.flatnonzero(found == _NO_ROW)
        looked_at = stretch.take(unproven.tolist())
        entries = [x or _UNKNOWN for x in self._documents.lookup(looked_at.doc_ids)]
        found[unproven] = [entry.row for entry in entries]
        known = np.flatnonzero(found != _NO_ROW)
        repeated = known[~self._seen.add(found[known])]
        differences = {
            place: difference
            for place, difference in differences_of(unproven.tolist(), looked_at, entries=entries)
            if difference.entry.row != _NO_ROW
        }
        is_new = [place for place, entry in enumerate(entries) if entry.row == _NO_ROW]
        if is_new:
            keys = self.keys(looked_at.take(is_new))
            for difference in self._of_new(keys, unproven[is_new].tolist()):
                differences[difference.place] = difference
        for place in repeated.tolist():
            differences[place] = Difference(place, "duplicate", _UNKNOWN)
        return [differences[place] for place in sorted(differences)]

    def keep(self, doc_ids: Sequence[str]) -> None:
        """Exempt documents from `missing`: their row is in the corpus, though unusable."""
        if self._documents is not None and doc_ids:
            entries = self._documents.lookup(doc_ids)
            rows = [entry.row for entry in entries if entry is not None]
            self._kept.add(np.array(rows, dtype=np.int64))

    def missing(self) -> Iterator[LedgerEntry]:
        """Yield the ledger's documents that were not met; only after all of the corpus."""
        if self._documents is None or len(self._seen) == self._documents.num_documents():
            return iter(())
        return self._documents.missing(self._seen, self._kept)

    def _of_new(self, keys: Keys, places: Sequence[int]) -> list[Difference]:
        """Return documents that the ledger does not know, by keys and places in their stretch."""
        is_first = self._new.add(keys).tolist()
        return [
            Difference(place, "new" if first else "duplicate", _UNKNOWN)
            for place, first in zip(places, is_first, strict=True)
        ]

    @cached_property
    def _stretches(self) -> Stretches:
        assert self._documents is not None
        return Stretches(self._documents.file, version_id=self._documents.version_id)


class SeenKeys:
    """The keys met so far, in sorted runs, each at least twice as long as the next."""

    def __init__(self) -> None:
        self._runs: list[Keys] = []

    def add(self, keys: Keys) -> NDArray[np.bool_]:
        """Add keys; return for each whether this is its first appearance, here included."""
        is_first = np.zeros(keys.size, dtype=np.bool_)
        unique, places = np.unique(keys, return_index=True)
        is_first[places] = True
        for run in self._runs:
            found = np.searchsorted(run, unique)
            found[found == run.size] = 0
            is_first[places[run[found] == unique]] = False
        self._runs.append(keys[is_first][np.argsort(keys[is_first])])
        while len(self._runs) > 1 and self._runs[-2].size < 2 * self._runs[-1].size:
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")
        self._runs = [run for run in self._runs if run.size]
        return is_first


def is_unknown(entry: LedgerEntry) -> bool:
    """Say whether an entry stands for a document that the ledger does not have."""
    return entry.row == _NO_ROW


def _mixed(digests: Keys) -> Keys:
    """Scatter digests, which of similar ids lie on a lattice (the finaliser of SplitMix64)."""
    mixed = digests.copy()
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
