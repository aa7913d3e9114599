"""Ways in which a collection, or what the ledger says of it, can come to be wrong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
from job_fixtures import JobFolder
from milvus_fixtures import unit_vectors

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerDocument
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.schemas.ids import chunk_id, text_hash


@dataclass(kw_only=True)
class Parts:
    """Milvus and the ledger, open for whoever plants drift or looks for it."""

    job: JobFolder
    store: MilvusStore
    ledger: Ledger

    @property
    def version(self) -> str:
        return f"{self.job.collection}_v1"

    @property
    def documents(self) -> DocumentLedger:
        documents = self.ledger.find_documents(self.version)
        assert documents is not None
        return documents

    def rows(self, doc_id: str | None = None) -> list[StoredChunk]:
        rows = self.store.reader.iter_chunks(self.version, with_text=True, with_vectors=True)
        wanted = [row for row in rows if doc_id in (None, row.doc_id)]
        return sorted(wanted, key=lambda row: (row.doc_id, row.chunk_index, row.chunk_id))

    def write(self, *rows: StoredChunk) -> None:
        """Write rows as they are, past everything that checks them."""
        raw = [raw_row(row) for row in rows]
        self.store._connection.call(lambda c: c.upsert(self.version, raw), doing="planting")

    def insert(self, *rows: StoredChunk) -> None:
        """Write rows beside those that have their keys."""
        raw = [raw_row(row) for row in rows]
        self.store._connection.call(lambda c: c.insert(self.version, raw), doing="planting")

    def delete(self, *keys: str) -> None:
        self.store.delete_chunks(self.version, keys)

    def state(self) -> dict[str, Any]:
        """Return all that a repair must bring back."""
        rows = self.rows()
        assert self.store.reader.count(self.version) == len(rows)
        told = {entry.doc_id: entry[2:6] for entry in self.documents.entries()}
        return {
            "rows": [replace(row, vector=None) for row in rows],
            "vectors": np.stack([np.asarray(row.vector) for row in rows]).round(4).tolist(),
            "ledger": told,
            "hashes": {doc_id: self.documents.chunk_hashes(doc_id) for doc_id in told},
        }


def raw_row(row: StoredChunk) -> dict[str, Any]:
    names = [f.name for f in fields(row) if f.name not in {"carried", "vector"}]
    return {name: getattr(row, name) for name in names} | row.carried | {"embedding": row.vector}


@contextmanager
def opened(job: JobFolder) -> Iterator[Parts]:
    with job.open_store() as store, Ledger(job.ledger) as ledger:
        yield Parts(job=job, store=store, ledger=ledger)


def change_row(**changes: object) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        parts.write(replace(parts.rows("d3")[1], **changes))  # type: ignore[arg-type]

    return plant


def lose_chunk(parts: Parts) -> None:
    parts.delete(chunk_id("d3", 1))


def lose_document(parts: Parts) -> None:
    parts.delete(*(row.chunk_id for row in parts.rows("d3")))


def leave_orphan(parts: Parts) -> None:
    last = parts.rows("d3")[-1]
    index = last.chunk_index + 1
    parts.write(replace(last, chunk_index=index, chunk_id=chunk_id("d3", index)))


def leave_stray_document(parts: Parts) -> None:
    row = parts.rows("d0")[0]
    parts.write(replace(row, doc_id="stray", chunk_id=chunk_id("stray", 0)))


def write_foreign_keys(parts: Parts) -> None:
    row = parts.rows("d3")[1]
    parts.write(
        replace(row, chunk_id="0" * 32),
        replace(row, chunk_id="not of ours"),
        replace(row, chunk_id="f" * 32, chunk_index=-1),
    )


def take_key_over(parts: Parts) -> None:
    parts.write(replace(parts.rows("d3")[1], doc_id="d2"))


def make_text_older(parts: Parts) -> None:
    row = parts.rows("d3")[1]
    parts.write(replace(row, doc_hash=text_hash("older"), text="An older text."))


def spoil_vectors(parts: Parts) -> None:
    wrong, short = parts.rows("d3")[1:3]
    assert short.vector is not None
    parts.write(
        replace(wrong, vector=unit_vectors(1, dimension=64, seed=5)[0]),
        replace(short, vector=short.vector * np.float32(0.5)),
    )


def lose_entry(parts: Parts) -> None:
    parts.documents.forget(["d3"])


def begin_and_die(parts: Parts) -> None:
    parts.documents.begin([("d3", 9)])


def begin_to_refresh_and_die(parts: Parts) -> None:
    parts.documents.begin_refresh(["d3"])


def misrecord(**changes: Any) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        documents = parts.documents
        (entry,) = documents.lookup(["d3"])
        assert entry is not None
        assert entry.doc_hash is not None
        told = {
            "doc_id": "d3",
            "doc_hash": entry.doc_hash,
            "carried_hash": entry.carried_hash,
            "num_chunks": entry.num_chunks,
            "chunk_hashes": b"".join(documents.chunk_hashes("d3")),
        }
        documents.begin([("d3", entry.num_chunks)])
        documents.commit([LedgerDocument(**(told | changes))], run=1)

    return plant


def record_what_is_nowhere(parts: Parts) -> None:
    documents = parts.documents
    documents.register(["ghost"])
    documents.begin([("ghost", 1)])
    ghost = LedgerDocument(
        doc_id="ghost",
        doc_hash="h",
        carried_hash="c",
        num_chunks=1,
        chunk_hashes=bytes(16),
    )
    documents.commit([ghost], run=1)


D3_CHUNKS = 8
"""Of the document `d3`, into which most of the drift is planted."""
Plant: TypeAlias = Callable[[Parts], None]
PLANTED: dict[str, tuple[Plant, dict[str, int], int]] = {
    "chunk missing": (lose_chunk, {"missing": 1}, 1),
    "document missing": (lose_document, {"missing": D3_CHUNKS}, D3_CHUNKS),
    "orphan beyond the last chunk": (leave_orphan, {"orphaned": 1}, 0),
    "document that nobody knows": (leave_stray_document, {"orphaned": 1}, 0),
    "row of an older text": (make_text_older, {"stale": 1}, 1),
    "text tampered with": (change_row(text="Something else."), {"altered": 1}, 1),
    "place tampered with": (change_row(char_start=3), {"altered": 1}, 0),
    "wrong number of chunks": (change_row(num_chunks=99), {"altered": 1}, 0),
    "wrong vectors": (spoil_vectors, {"vector": 2}, 2),
    "foreign keys": (write_foreign_keys, {"foreign": 3}, 0),
    "key under another document": (take_key_over, {"foreign": 1, "missing": 1}, 1),
    "carried metadata": (change_row(carried={"topic": "other"}), {"metadata": 1}, 0),
    "ledger entry lost": (lose_entry, {"unrecorded": 1}, 0),
    "document begun": (begin_and_die, {"pending": 1}, 0),
    "refresh begun": (begin_to_refresh_and_die, {"pending": 1}, 0),
    "ledger with another text": (misrecord(doc_hash="other"), {"misrecorded": 1}, 0),
    "ledger with other metadata": (misrecord(carried_hash="other"), {"misrecorded": 1}, 0),
    "ledger with other chunks": (
        misrecord(chunk_hashes=bytes(16 * D3_CHUNKS)),
        {"misrecorded": 1},
        0,
    ),
    "ledger entry of no document": (record_what_is_nowhere, {"misrecorded": 1}, 0),
}
"""By name: how it is planted, what an audit finds, how many chunks a repair embeds."""
