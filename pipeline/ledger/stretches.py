"""Digests of whole stretches of the corpus, so that an unchanged one costs a single comparison.

A stretch is a batch of consecutive documents as the source delivers it. Its digest covers ids,
hashes and places of all of them. The ledger keeps a digest with the documents' row ids; only a
sealed one counts, and it is sealed only when the ledger's own rows give the same digest. Whatever
touches a document drops the sealed stretches around it in the same transaction.
"""

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from embed_index.pipeline.ledger.file import LedgerFile
from embed_index.pipeline.ledger.seen_rows import RowIds

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Consecutive documents as read, in columns of equal length."""

    doc_ids: Sequence[str]
    doc_hashes: Sequence[str]
    carried_hashes: Sequence[str]
    sources: Sequence[str]

    def digest(self) -> bytes:
        """Return a digest of every value and of their order."""
        return _digest(self.doc_ids, self.doc_hashes, self.carried_hashes, self.sources)


def find_sealed_rows(file: LedgerFile, *, version_id: int, digest: bytes) -> RowIds | None:
    """Return the row ids of a stretch that is in the ledger exactly so, or None."""
    found = file.query(
        "SELECT rows FROM stretches WHERE version_id = ? AND digest = ? AND is_sealed = 1",
        (version_id, digest),
    )
    return _unpack(found[0][0]) if found else None


def propose_stretch(file: LedgerFile, *, version_id: int, digest: bytes, rows: RowIds) -> None:
    """Remember a stretch that `seal_stretches` will find true once its documents are committed."""
    with file.transaction() as connection:
        connection.execute(
            "INSERT OR REPLACE INTO stretches"
            " (version_id, digest, is_sealed, first_row, last_row, rows) VALUES (?, ?, 0, ?, ?, ?)",
            (version_id, digest, int(rows.min()), int(rows.max()), rows.astype("<i8").tobytes()),
        )


def seal_stretches(file: LedgerFile, *, version_id: int, met: set[bytes]) -> None:
    """Seal the proposed stretches that the ledger's rows confirm, and drop the others.

    Args:
        file: The ledger.
        version_id: The collection version.
        met: Digests of all stretches of a complete pass; sealed ones outside it are dropped.
    """
    stretches = file.query(
        "SELECT id, digest, is_sealed FROM stretches WHERE version_id = ?", (version_id,)
    )
    for stretch_id, digest, is_sealed in stretches:
        if is_sealed and digest in met:
            continue
        with file.transaction() as connection:
            if not is_sealed and digest in met and _holds(connection, stretch_id, digest):
                sql = "UPDATE stretches SET is_sealed = 1 WHERE id = ?"
            else:
                sql = "DELETE FROM stretches WHERE id = ?"
            connection.execute(sql, (stretch_id,))


def drop_touched_stretches(
    connection: sqlite3.Connection, *, version_id: int, rows: RowIds
) -> None:
    """Drop the sealed stretches whose range of row ids holds one of `rows`."""
    sealed = connection.execute(
        "SELECT id, first_row, last_row FROM stretches WHERE version_id = ? AND is_sealed = 1",
        (version_id,),
    ).fetchall()
    if not sealed or not rows.size:
        return
    ids, first, last = np.array(sealed, dtype=np.int64).T
    touched = np.sort(rows)
    is_hit = np.searchsorted(touched, first, "left") < np.searchsorted(touched, last, "right")
    connection.executemany(
        "DELETE FROM stretches WHERE id = ?", ((stretch,) for stretch in ids[is_hit].tolist())
    )


def _holds(connection: sqlite3.Connection, stretch_id: int, digest: bytes) -> bool:
    (packed,) = connection.execute(
        "SELECT rows FROM stretches WHERE id = ?", (stretch_id,)
    ).fetchone()
    documents = connection.execute(
        "SELECT d.doc_id, d.doc_hash, d.carried_hash, d.source"
        " FROM json_each(?) j CROSS JOIN documents d ON d.id = j.value ORDER BY j.key",
        (orjson.dumps(_unpack(packed).tolist()).decode(),),
    ).fetchall()
    return bool(documents) and _digest(*map(list, zip(*documents, strict=True))) == digest


def _digest(*columns: Sequence[str]) -> bytes:
    return hashlib.blake2b(orjson.dumps(columns), digest_size=_DIGEST_BYTES).digest()


def _unpack(packed: bytes) -> RowIds:
    return np.frombuffer(packed, dtype="<i8").astype(np.int64)
