"""The ledger's documents of one collection version: what Milvus holds, and what it may hold.

A document is registered (no hash), begun (durable intent: how many chunks may exist from now on)
and committed (hash, chunks, and which of them are dead). Whatever touches its rows in Milvus is
begun first, deletion included, so that a run that dies in between leaves a document that no longer
counts as unchanged, even if the source returns to the older text.
"""

import random
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from embed_index.pipeline.ledger.entries import (
    CHUNK_HASH_BYTES,
    LedgerCounts,
    LedgerDocument,
    LedgerEntry,
    Refreshed,
)
from embed_index.pipeline.ledger.file import LedgerFile
from embed_index.pipeline.ledger.seen_rows import RowIds, SeenRows
from embed_index.pipeline.ledger.stretches import forget_stretches, note_touched_rows

_PAGE_ROWS = 4096
_COLUMNS = "d.doc_id, d.id, d.doc_hash, d.carried_hash, d.num_chunks, d.max_chunks, d.last_run"

_ADD_DEAD_CHUNK = (
    "INSERT INTO dead_chunks SELECT id, ? FROM documents WHERE version_id = ? AND doc_id = ?"
)
_IS_WHOLE = (
    "{0}.doc_hash IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM dead_chunks c WHERE c.document = {0}.id)"
)


class DocumentLedger:
    """Documents of one version; every method is one transaction, from any thread."""

    def __init__(self, file: LedgerFile, *, version: str, version_id: int) -> None:
        self.file = file
        self.version = version
        self.version_id = version_id
        self.num_removed = 0
        """Documents that this object has removed, for those who remember rows by their id."""

    def lookup(self, doc_ids: Sequence[str]) -> list[LedgerEntry | None]:
        """Return an entry, or None where there is none, for each id; best a few thousand a call."""
        payload = orjson.dumps(doc_ids)
        if b"\\u0000" in payload:
            # SQLite's JSON functions end a text at NUL.
            one = "documents d WHERE d.version_id = ? AND d.doc_id = ?"
            rows = [row for doc_id in doc_ids for row in self._select(one, self.version_id, doc_id)]
        else:
            rows = self._select(
                "json_each(?) j CROSS JOIN documents d ON d.version_id = ? AND d.doc_id = j.value",
                payload.decode(),
                self.version_id,
            )
        known = {row[0]: row for row in rows}
        found = map(known.get, doc_ids)
        return [None if row is None else LedgerEntry._make(row) for row in found]

    def chunk_hashes(self, doc_id: str) -> list[bytes]:
        """Return the text hash of each committed chunk in order; empty where unknown."""
        rows = self.file.query(
            "SELECT chunk_hashes FROM documents WHERE version_id = ? AND doc_id = ?",
            (self.version_id, doc_id),
        )
        joined = rows[0][0] if rows else b""
        return [
            joined[start : start + CHUNK_HASH_BYTES]
            for start in range(0, len(joined), CHUNK_HASH_BYTES)
        ]

    def dead_chunks(self, doc_id: str) -> frozenset[int]:
        """Return the indexes of a committed document's chunks that could not be embedded."""
        rows = self.file.query(
            "SELECT c.chunk_index FROM documents d JOIN dead_chunks c ON c.document = d.id"
            " WHERE d.version_id = ? AND d.doc_id = ?",
            (self.version_id, doc_id),
        )
        return frozenset(index for (index,) in rows)

    def register(self, doc_ids: Iterable[str]) -> None:
        """Give each unknown id a row without a hash; known ids are left as they are."""
        with self.file.transaction() as connection:
            connection.executemany(
                "INSERT INTO documents (version_id, doc_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
                ((self.version_id, doc_id) for doc_id in doc_ids),
            )

    def begin(self, intents: Sequence[tuple[str, int]]) -> None:
        """Record durably how many chunks are about to exist, before the first is sent.

        Args:
            intents: Pairs of a registered id and the number of chunks that will be written; 0
                before the document's chunks are deleted.

        Raises:
            KeyError: An id is not registered.
        """
        with self.file.transaction() as connection:
            rows = self._touch(connection, [doc_id for doc_id, _ in intents])
            connection.executemany(
                "UPDATE documents SET doc_hash = NULL, carried_hash = NULL, chunk_hashes = x'',"
                " max_chunks = max(max_chunks, ?) WHERE id = ?",
                ((num_chunks, row) for (_, num_chunks), row in zip(intents, rows, strict=True)),
            )
            connection.execute(
                "DELETE FROM dead_chunks WHERE document IN (SELECT value FROM json_each(?))",
                (orjson.dumps(rows).decode(),),
            )

    def commit(self, documents: Sequence[LedgerDocument], *, run: int) -> None:
        """Record documents whose chunks Milvus acknowledged and whose orphans are deleted.

        An open dead letter of a committed document is closed, unless some of its chunks are dead.

        Raises:
            ValueError: A document was not begun with at least this many chunks, or lacks a hash.
        """
        with self.file.transaction() as connection:
            for document in documents:
                changed = connection.execute(
                    "UPDATE documents SET doc_hash = ?, carried_hash = ?,"
                    " num_chunks = ?, max_chunks = ?, chunk_hashes = ?, last_run = ?"
                    " WHERE version_id = ? AND doc_id = ? AND doc_hash IS NULL"
                    " AND max_chunks >= ?",
                    (
                        *document.columns(),
                        run,
                        self.version_id,
                        document.doc_id,
                        document.num_chunks,
                    ),
                ).rowcount
                if changed != 1 or document.doc_hash is None or document.carried_hash is None:
                    raise ValueError(
                        f"document {document.doc_id!r} was committed without a hash or without"
                        f" having been begun with {document.num_chunks} chunks"
                    )
            connection.executemany(
                _ADD_DEAD_CHUNK,
                (
                    (index, self.version_id, document.doc_id)
                    for document in documents
                    for index in document.dead_chunks
                ),
            )
            whole = (document.doc_id for document in documents if not document.dead_chunks)
            connection.executemany(
                "DELETE FROM dead_letters WHERE version = ? AND key = ?",
                ((self.version, f"document:{doc_id}") for doc_id in whole),
            )

    def begin_refresh(self, doc_ids: Sequence[str]) -> None:
        """Record durably that these documents' metadata is about to be written again.

        Raises:
            KeyError: An id is not registered.
        """
        with self.file.transaction() as connection:
            rows = self._touch(connection, doc_ids)
            connection.executemany(
                "UPDATE documents SET carried_hash = NULL WHERE id = ?", ((row,) for row in rows)
            )

    def commit_refresh(self, refreshed: Sequence[Refreshed], *, run: int) -> None:
        """Record documents whose metadata Milvus acknowledged.

        Raises:
            ValueError: A document is not committed, or its refresh was not begun.
        """
        with self.file.transaction() as connection:
            for doc_id, carried_hash in refreshed:
                changed = connection.execute(
                    "UPDATE documents SET carried_hash = ?, last_run = ?"
                    " WHERE version_id = ? AND doc_id = ?"
                    " AND doc_hash IS NOT NULL AND carried_hash IS NULL",
                    (carried_hash, run, self.version_id, doc_id),
                ).rowcount
                if changed != 1:
                    raise ValueError(f"document {doc_id!r} was refreshed without `begin_refresh`")

    def forget(self, doc_ids: Sequence[str]) -> None:
        """Remove documents whose chunks were deleted from Milvus.

        Raises:
            KeyError: An id is not registered.
        """
        with self.file.transaction() as connection:
            rows = self._touch(connection, doc_ids)
            connection.executemany("DELETE FROM documents WHERE id = ?", ((row,) for row in rows))
            connection.executemany(
                "DELETE FROM dead_letters WHERE version = ? AND key = ?",
                ((self.version, f"document:{doc_id}") for doc_id in doc_ids),
            )
        self.num_removed += len(rows)

    def replace_all(self, documents: Iterable[LedgerDocument]) -> None:
        """Replace every document by what Milvus holds, all or nothing.

        The ledger stays locked while `documents` is read; memory does not grow with it, but for
        the dead chunks.
        """
        dead: list[tuple[int, int, str]] = []

        def columns() -> Iterator[tuple[str | int | bytes | None, ...]]:
            for document in documents:
                ids = (self.version_id, document.doc_id)
                dead.extend((index, *ids) for index in document.dead_chunks)
                yield (*document.columns(), *ids)

        with self.file.transaction() as connection:
            forget_stretches(connection, version_id=self.version_id)
            removed = connection.execute(
                "DELETE FROM documents WHERE version_id = ?", (self.version_id,)
            )
            self.num_removed += removed.rowcount
            connection.executemany(
                "INSERT INTO documents (doc_hash, carried_hash, num_chunks, max_chunks,"
                " chunk_hashes, version_id, doc_id) VALUES (?, ?, ?, ?, ?, ?, ?)",
                columns(),
            )
            connection.executemany(_ADD_DEAD_CHUNK, dead)

    def entries(self) -> Iterator[LedgerEntry]:
        """Yield every document, oldest first; the ledger may be written to meanwhile."""
        # The plus keeps SQLite on the table's own order instead of the index by version.
        return self._pages("+d.version_id = ?")

    def pending(self) -> Iterator[LedgerEntry]:
        """Yield every document that is registered or begun, and not committed."""
        return self._pages("d.version_id = ? AND d.doc_hash IS NULL")

    def missing(self, *seen: SeenRows) -> Iterator[LedgerEntry]:
        """Yield the documents whose row is in none of the sets; deleting them meanwhile is fine."""
        last = 0
        while ids := self._row_ids_after(last):
            last = ids[-1]
            rows = np.array(ids, dtype=np.int64)
            unseen = ~np.logical_or.reduce([rows_seen.contains(rows) for rows_seen in seen])
            for row in rows[unseen].tolist():
                yield from map(LedgerEntry._make, self._select("documents d WHERE d.id = ?", row))

    def is_flushed(self) -> bool:
        """Say whether no document was begun or forgotten since `mark_flushed`."""
        sql = "SELECT is_flushed FROM versions WHERE id = ?"
        return bool(self.file.query(sql, (self.version_id,))[0][0])

    def mark_flushed(self) -> None:
        """Record that Milvus has put all that was written into its own storage."""
        with self.file.transaction() as connection:
            sql = "UPDATE versions SET is_flushed = 1 WHERE id = ?"
            connection.execute(sql, (self.version_id,))

    def counts(self) -> LedgerCounts:
        """Count documents and chunks."""
        ((num_dead,),) = self.file.query(
            "SELECT count(*) FROM dead_chunks c JOIN documents d ON d.id = c.document"
            " WHERE d.version_id = ?",
            (self.version_id,),
        )
        ((num_documents, num_committed, num_chunks),) = self.file.query(
            "SELECT count(*), count(doc_hash),"
            " coalesce(sum(iif(doc_hash IS NULL, 0, num_chunks)), 0)"
            " FROM documents WHERE version_id = ?",
            (self.version_id,),
        )
        return LedgerCounts(
            num_documents=num_documents,
            num_pending=num_documents - num_committed,
            num_chunks=num_chunks - num_dead,
        )

    def num_documents(self) -> int:
        """Count the documents from the index alone: fast, also for millions."""
        sql = "SELECT count(*) FROM documents WHERE version_id = ?"
        return int(self.file.query(sql, (self.version_id,))[0][0])

    def sample(self, num_documents: int) -> list[LedgerEntry]:
        """Return up to so many committed documents with chunks, drawn at random."""
        ((first, last),) = self.file.query(
            "SELECT min(id), max(id) FROM documents WHERE version_id = ?", (self.version_id,)
        )
        if first is None:
            return []
        condition = (
            "d.id {} ? AND +d.version_id = ? AND d.doc_hash IS NOT NULL AND d.num_chunks > 0"
        )
        after, before = (
            f"documents d WHERE {condition.format(sign)} ORDER BY d.id {order} LIMIT 1"
            for sign, order in ((">=", "ASC"), ("<", "DESC"))
        )
        drawn = {}
        for _ in range(num_documents):
            place = random.randint(first, last)  # noqa: S311 - a sample, no secret
            rows = self._select(after, place, self.version_id)
            for row in rows or self._select(before, place, self.version_id):
                drawn[row[0]] = LedgerEntry._make(row)
        return list(drawn.values())

    def count_absent_from(self, other: "DocumentLedger") -> int:
        """Count the documents that are committed whole here, and not so in another version."""
        ((num_absent,),) = self.file.query(
            f"SELECT count(*) FROM documents d WHERE d.version_id = ? AND {_IS_WHOLE.format('d')}"  # noqa: S608
            " AND NOT EXISTS (SELECT 1 FROM documents o WHERE o.version_id = ?"
            f" AND o.doc_id = d.doc_id AND {_IS_WHOLE.format('o')})",
            (self.version_id, other.version_id),
        )
        return int(num_absent)

    def _touch(self, connection: sqlite3.Connection, doc_ids: Sequence[str]) -> list[int]:
        rows = [entry.row for entry in self.lookup(doc_ids) if entry is not None]
        if len(rows) < len(doc_ids):
            unknown = [i for i, e in zip(doc_ids, self.lookup(doc_ids), strict=True) if e is None]
            raise KeyError(f"documents that are not registered: {unknown[:3]}")
        touched: RowIds = np.array(rows, dtype=np.int64)
        note_touched_rows(connection, version_id=self.version_id, rows=touched)
        sql = "UPDATE versions SET is_flushed = 0 WHERE id = ? AND is_flushed = 1"
        connection.execute(sql, (self.version_id,))
        return rows

    def _select(self, origin: str, *parameters: str | int) -> list[tuple[Any, ...]]:
        return self.file.query(f"SELECT {_COLUMNS} FROM {origin}", parameters)  # noqa: S608

    def _row_ids_after(self, last: int) -> list[int]:
        sql = "SELECT id FROM documents WHERE id > ? AND +version_id = ? ORDER BY id LIMIT ?"
        return [row for (row,) in self.file.query(sql, (last, self.version_id, _PAGE_ROWS))]

    def _pages(self, condition: str) -> Iterator[LedgerEntry]:
        last = 0
        origin = f"documents d WHERE {condition} AND d.id > ? ORDER BY d.id LIMIT ?"
        while page := self._select(origin, self.version_id, last, _PAGE_ROWS):
            last = page[-1][1]
            yield from map(LedgerEntry._make, page)
