"""Digests of the corpus as it was read last, so that what is unchanged costs a comparison.

A stretch is what a batch, as the source delivers it, has of one file. Its digest covers ids,
texts' hashes and metadata of all of them in their order, and the ledger keeps it with the
documents' row ids and a digest of each. Only a sealed one counts, and it is sealed only when the
ledger's own rows prove to be the same. So a stretch that is as it was is recognised whole, and one
whose documents moved is recognised document by document, without a look at the ledger's documents.

Whatever touches a document notes its row in the same transaction: what a sealed stretch says of
that row no longer counts.
"""

import hashlib
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from embed_index.pipeline.ledger.digests import Digests, DocumentDigester
from embed_index.pipeline.ledger.file import LedgerFile
from embed_index.pipeline.ledger.seen_rows import RowIds, SeenRows
from embed_index.schemas.records import Words

PROOF_BYTES = 16
"""Of what `prove` says of one document."""
_DIGEST_BYTES = 16
_MAX_KNOWN_DOCUMENTS = 1 << 24
_STRETCH_DOCUMENTS = 2048
_LOOKUP_COST = 64
"""Of a document in the ledger, where 1 is the cost of reading one of a stretch."""
_STRETCHES_PER_TRANSACTION = 64
_STRETCHES_PER_QUERY = 256


class Stretch(Protocol):
    """Consecutive documents as read, in columns of equal length."""

    @property
    def doc_ids(self) -> Sequence[str]:
        """The document ids."""

    @property
    def doc_hashes(self) -> Sequence[str]:
        """The content hashes of the texts."""

    @property
    def carried_hashes(self) -> Sequence[str]:
        """The hashes of the carried values."""

    def file_ends(self) -> list[tuple[str, int]]:
        """Return, file by file, its name and how many documents come up to its end."""

    def words(self) -> Iterable[Words]:
        """Yield by column, ids first, numbers that tell every document from any other."""

    def take(self, places: Sequence[int]) -> "Stretch":
        """Return some of the documents, in the order given."""


class Proposal(NamedTuple):
    """A stretch that will be true of the ledger once its documents are committed."""

    digest: bytes
    rows: RowIds
    digests: Digests
    unproven: Sequence[int]
    """Places of the documents that no sealed stretch knows to be so."""
    proofs: bytes
    """What `prove` says of these, and of the ledger's documents once they are committed."""


class Stretches:
    """The stretches of one version during one pass; one thread at a time.

    The sealed ones are read once. When a stretch is not as it was, its documents are sought where
    the pass has got to; those of all stretches are read when many were not found there. Memory is
    then 24 bytes a document, of the first `_MAX_KNOWN_DOCUMENTS`.
    """

    def __init__(self, file: LedgerFile, *, version_id: int) -> None:
        self._file = file
        self._version_id = version_id
        self._met: set[bytes] = set()
        self._proposed: list[Proposal] = []
        self._known: _KnownDocuments | None = None
        self._num_not_near = 0
        self._near: dict[int, _KnownDocuments] = {}
        self._place = 0
        """Of the sealed stretch after the one that was met last, in the order of `_order`."""
        ((seed,),) = file.query("SELECT digest_seed FROM versions WHERE id = ?", (version_id,))
        self._digester = DocumentDigester(seed)
        sealed = "SELECT digest, id FROM stretches WHERE version_id = ? AND is_sealed = 1"
        self._sealed: dict[bytes, int] = dict(file.query(sealed, (version_id,)))
        self._order = sorted(self._sealed.values())
        self._touched = SeenRows()
        touched = file.query("SELECT rows FROM touched_rows WHERE version_id = ?", (version_id,))
        for (packed,) in touched:
            self._touched.add(_unpack_rows(packed))
        self._is_touched = bool(touched)

    def digests(self, stretch: Stretch) -> Digests:
        """Return a digest of each document by itself."""
        return self._digester.digest(stretch.words())

    def find(self, digests: Sequence[bytes]) -> list[RowIds | None]:
        """Return the row ids of each stretch that is in the ledger exactly so, None of others."""
        ids = [self._sealed.get(digest) for digest in digests]
        rows = self._rows_of([stretch_id for stretch_id in ids if stretch_id is not None])
        found = [None if stretch_id is None else rows.get(stretch_id) for stretch_id in ids]
        if rows:
            self._place = bisect_right(self._order, next(reversed(rows)))
        return found

    def _rows_of(self, stretch_ids: Sequence[int]) -> dict[int, RowIds]:
        """Return the row ids of sealed stretches, in the order given; not of those touched."""
        packed: dict[int, bytes] = {}
        for start in range(0, len(stretch_ids), _STRETCHES_PER_QUERY):
            some = stretch_ids[start : start + _STRETCHES_PER_QUERY]
            marks = ", ".join("?" * len(some))
            packed |= self._file.query(
                f"SELECT stretch_id, rows FROM stretch_documents WHERE stretch_id IN ({marks})",  # noqa: S608 - question marks
                some,
            )
        rows = {stretch_id: _unpack_rows(packed[stretch_id]) for stretch_id in stretch_ids}
        if not self._is_touched:
            return rows
        return {at: each for at, each in rows.items() if not self._touched.contains(each).any()}

    def find_documents(self, digests: Digests) -> RowIds:
        """Return the row id of each document that is in the ledger exactly so, 0 for the others.

        Some that are may be among the others.
        """
        if self._known is None:
            rows = self._find_near(digests)
            unknown = np.flatnonzero(rows == 0)
            self._num_not_near += unknown.size
            # A few are looked up among the ledger's documents for less than reading all stretches.
            if self._num_not_near * _LOOKUP_COST <= len(self._order) * _STRETCH_DOCUMENTS:
                return rows
            self._known = self._read_known()
            self._near.clear()
            rows[unknown] = self._known.find(digests[unknown])
            return rows
        return self._known.find(digests)

    def meet(self, digest: bytes) -> None:
        """Note that the corpus has a stretch that was found."""
        self._met.add(digest)

    def propose(self, proposal: Proposal) -> None:
        """Remember a stretch, which `seal` will find true once its documents are committed."""
        self._met.add(proposal.digest)
        self._proposed.append(proposal)
        if len(self._proposed) == _STRETCHES_PER_TRANSACTION:
            self._write_proposed()

    def seal(self) -> set[bytes]:
        """Seal the proposed stretches that the ledger confirms, drop what was not met.

        Only after a complete pass whose documents are committed. Nothing is written where nothing
        differs from the last pass. Returns the digests of those that are sealed.
        """
        self._write_proposed()
        stretches = self._file.query(
            "SELECT id, digest, is_sealed FROM stretches WHERE version_id = ?", (self._version_id,)
        )
        met = [row for row in stretches if row[1] in self._met]
        true = [stretch for stretch, _, is_sealed in met if not is_sealed and self._holds(stretch)]
        is_kept = {stretch for stretch, _, is_sealed in met if is_sealed}.union(true)
        false = [stretch for stretch, _, _ in stretches if stretch not in is_kept]
        touched = "SELECT 1 FROM touched_rows WHERE version_id = ? LIMIT 1"
        digests = {digest for stretch, digest, _ in met if stretch in is_kept}
        if not (true or false or self._file.query(touched, (self._version_id,))):
            return digests
        with self._file.transaction() as connection:
            for sql, ids in (
                ("DELETE FROM stretches WHERE id = ?", false),
                ("UPDATE stretches SET is_sealed = 1 WHERE id = ?", true),
            ):
                connection.executemany(sql, ((stretch,) for stretch in ids))
            # A stretch that was touched before the pass was not found, nor met by its documents.
            connection.execute("DELETE FROM touched_rows WHERE version_id = ?", (self._version_id,))
        return digests

    def _write_proposed(self) -> None:
        if not self._proposed:
            return
        with self._file.transaction() as connection:
            for digest, rows, digests, unproven, proofs in self._proposed:
                key = (self._version_id, digest)
                connection.execute("DELETE FROM stretches WHERE version_id = ? AND digest = ?", key)
                stretch_id = connection.execute(
                    "INSERT INTO stretches (version_id, digest, is_sealed, last_row)"
                    " VALUES (?, ?, 0, ?)",
                    (*key, int(rows.max())),
                ).lastrowid
                packed = (_pack_rows(rows), digests.astype("<u8").tobytes())
                connection.execute(
                    "INSERT INTO stretch_documents (stretch_id, rows, digests, unproven, proofs)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (stretch_id, *packed, np.array(unproven, dtype="<u4").tobytes(), proofs),
                )
        self._proposed.clear()

    def _holds(self, stretch_id: int) -> bool:
        sql = "SELECT rows, unproven, proofs FROM stretch_documents WHERE stretch_id = ?"
        ((packed_rows, unproven, proofs),) = self._file.query(sql, (stretch_id,))
        places = np.frombuffer(unproven, dtype="<u4")
        if not places.size:
            return True
        documents = self._file.query(
            "SELECT d.doc_id, d.doc_hash, d.carried_hash"
            " FROM json_each(?) j CROSS JOIN documents d ON d.id = j.value"
            " WHERE d.doc_hash IS NOT NULL AND d.carried_hash IS NOT NULL ORDER BY j.key",
            (orjson.dumps(_unpack_rows(packed_rows)[places].tolist()).decode(),),
        )
        if len(documents) < places.size:
            return False
        return bool(prove(*zip(*documents, strict=True)) == proofs)

    def _find_near(self, digests: Digests) -> RowIds:
        """Find documents in the sealed stretches before, at and after the pass's place."""
        rows: RowIds = np.zeros(len(digests), dtype=np.int64)
        places = range(max(0, self._place - 1), min(len(self._order), self._place + 2))
        near = {self._order[place]: place for place in places}
        self._near = {
            stretch: self._near.get(stretch) or self._read_documents([stretch]) for stretch in near
        }
        for stretch, place in near.items():
            unknown = np.flatnonzero(rows == 0)
            found = self._near[stretch].find(digests[unknown])
            if found.any():
                rows[unknown] = found
                self._place = place + 1
        return rows

    def _read_known(self) -> "_KnownDocuments":
        return self._read_documents(self._order)

    def _read_documents(self, stretches: Sequence[int]) -> "_KnownDocuments":
        """Return what sealed stretches say of the documents that were not touched since."""
        sql = "SELECT rows, digests FROM stretch_documents WHERE stretch_id = ?"
        known = _KnownDocuments()
        for stretch_id in stretches:
            packed_rows, packed = self._file.query(sql, (stretch_id,))[0]
            rows = _unpack_rows(packed_rows)
            is_valid = ~self._touched.contains(rows)
            known.add(rows[is_valid], _unpack_digests(packed)[is_valid])
            if len(known) >= _MAX_KNOWN_DOCUMENTS:
                break
        known.sort()
        return known


class _KnownDocuments:
    """Row ids by document digest, as sorted columns."""

    def __init__(self) -> None:
        self._parts: list[tuple[RowIds, Digests]] = []
        self._num_documents = 0
        self._rows: RowIds = np.empty(0, dtype=np.int64)
        self._first: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._second: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)

    def __len__(self) -> int:
        return self._num_documents

    def add(self, rows: RowIds, digests: Digests) -> None:
        """Add documents, before `sort`."""
        self._parts.append((rows, digests))
        self._num_documents += rows.size

    def sort(self) -> None:
        """Make what was added findable."""
        if not self._parts:
            return
        first = np.concatenate([digests[:, 0] for _, digests in self._parts])
        order = np.argsort(first)
        self._first = first[order]
        self._second = np.concatenate([digests[:, 1] for _, digests in self._parts])[order]
        self._rows = np.concatenate([rows for rows, _ in self._parts])[order]
        self._parts.clear()

    def find(self, digests: Digests) -> RowIds:
        """Return the row id of each document, 0 for an unknown one."""
        rows: RowIds = np.zeros(len(digests), dtype=np.int64)
        if not self._num_documents:
            return rows
        # In ascending order the search finds its way through memory several times faster.
        order = np.argsort(digests[:, 0])
        wanted = digests[order]
        places = np.searchsorted(self._first, wanted[:, 0])
        places[places == self._num_documents] = 0
        is_known = (self._first[places] == wanted[:, 0]) & (self._second[places] == wanted[:, 1])
        rows[order] = np.where(is_known, self._rows[places], 0)
        return rows


def digest_of(digests: Digests) -> bytes:
    """Return a digest of a whole stretch, in which the order of the documents counts."""
    return hashlib.blake2b(digests.tobytes(), digest_size=_DIGEST_BYTES).digest()


def prove(
    doc_ids: Sequence[str], doc_hashes: Sequence[str], carried_hashes: Sequence[str]
) -> bytes:
    """Return digests of documents, made of what the ledger keeps of them."""
    # Both hashes have one length, so that no two documents share an input.
    columns = zip(doc_hashes, carried_hashes, doc_ids, strict=True)
    return b"".join(
        hashlib.blake2b((text + carried + doc_id).encode(), digest_size=PROOF_BYTES).digest()
        for text, carried, doc_id in columns
    )


def note_touched_rows(connection: sqlite3.Connection, *, version_id: int, rows: RowIds) -> None:
    """Note that what sealed stretches say of `rows` no longer counts."""
    sql = "SELECT max(last_row) FROM stretches WHERE version_id = ? AND is_sealed = 1"
    ((last,),) = connection.execute(sql, (version_id,))
    sealed = rows[rows <= (last or 0)]
    if sealed.size:
        sql = "INSERT INTO touched_rows (version_id, rows) VALUES (?, ?)"
        connection.execute(sql, (version_id, _pack_rows(sealed)))


def forget_stretches(connection: sqlite3.Connection, *, version_id: int) -> None:
    """Drop everything that is said of a version's documents."""
    for table in ("stretches", "touched_rows"):
        connection.execute(f"DELETE FROM {table} WHERE version_id = ?", (version_id,))  # noqa: S608


def _pack_rows(rows: RowIds) -> bytes:
    return rows.astype("<i8").tobytes()


def _unpack_rows(packed: bytes) -> RowIds:
    return np.frombuffer(packed, dtype="<i8").astype(np.int64)


def _unpack_digests(packed: bytes) -> Digests:
    return np.frombuffer(packed, dtype="<u8").astype(np.uint64, copy=False).reshape(-1, 2)
