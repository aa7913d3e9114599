"""Rebuild the ledger of a version from what Milvus holds, without embedding anything."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, Protocol

from embed_index.pipeline.disk.scratch import open_scratch
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerDocument
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.images import is_ours
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.pipeline.versions.target import TargetVersion
from embed_index.schemas.ids import carried_hash, text_hash

_LAYOUT = (
    "CREATE TABLE chunks (doc_id TEXT, chunk_index INTEGER, num_chunks INTEGER, doc_hash TEXT,"
    " carried_hash TEXT, text_hash BLOB)"
)


class RowReader(Protocol):
    """What a rebuild needs of the collection."""

    def iter_chunks(self, version: str, *, with_text: bool = False) -> Iterator[StoredChunk]:
        """Read all rows, in any order."""


class _Row(NamedTuple):
    doc_id: str
    chunk_index: int
    num_chunks: int
    doc_hash: str
    carried_hash: str
    text_hash: bytes
    """Of what the model saw; empty where Milvus does not hold all of that."""


def open_documents(
    ledger: Ledger, target: TargetVersion, *, reader: RowReader, folder: Path
) -> DocumentLedger:
    """Return a version's documents, rebuilt from Milvus where it is there and the ledger was lost.

    A rebuild that is cut short is begun again by the next call.

    Args:
        ledger: Of the alias.
        target: The version.
        reader: Gives the version's rows.
        folder: Takes a temporary file.
    """
    version, collection_id = target.name, target.contract.collection_id
    if target.exists and not ledger.knows(version, collection_id=collection_id):
        # Under a passing name, so that one that dies meanwhile does not leave half of it.
        documents = ledger.documents(version, collection_id=f"rebuilding {collection_id}")
        rebuild_ledger(
            documents,
            reader.iter_chunks(version, with_text=True),
            folder=folder,
            has_prefixes=target.contract.has_prefixes,
        )
        ledger.rename_collection(version, collection_id=collection_id)
    return ledger.documents(version, collection_id=collection_id)


def rebuild_ledger(
    ledger: DocumentLedger,
    chunks: Iterable[StoredChunk],
    *,
    folder: Path,
    has_prefixes: bool = False,
) -> int:
    """Fill a version's empty ledger with its stored chunks; return the number of documents.

    A document counts as committed only if exactly its chunks are there, all of one text. Rows
    under keys that are not ours are left for the audit.

    Args:
        ledger: Documents of the version.
        chunks: Every row of the version, with text, in any order.
        folder: Takes a temporary file, in which the rows are sorted by document.
        has_prefixes: Whether the model saw more of a chunk than the text that its row has.
    """
    with open_scratch(folder, _LAYOUT) as scratch:
        scratch.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)",
            (_row(x, is_all=not has_prefixes) for x in chunks if is_ours(x.key)),
        )
        sorted_rows = map(
            _Row._make, scratch.execute("SELECT * FROM chunks ORDER BY doc_id, chunk_index")
        )
        ledger.replace_all(_documents(sorted_rows))
    return ledger.num_documents()


def _row(chunk: StoredChunk, *, is_all: bool) -> _Row:
    is_whole = is_all and chunk.text_complete and chunk.text is not None
    return _Row(
        doc_id=chunk.doc_id,
        chunk_index=chunk.chunk_index,
        num_chunks=chunk.num_chunks,
        doc_hash=chunk.doc_hash,
        carried_hash=carried_hash(tuple(chunk.carried.values())),
        text_hash=bytes.fromhex(text_hash(chunk.text)) if is_whole and chunk.text else b"",
    )


def _documents(rows: Iterator[_Row]) -> Iterator[LedgerDocument]:
    for doc_id, group in groupby(rows, key=lambda row: row.doc_id):
        yield _document(doc_id, list(group))


def _document(doc_id: str, rows: list[_Row]) -> LedgerDocument:
    first = rows[0]
    is_whole = [row.chunk_index for row in rows] == list(range(first.num_chunks)) and len(
        {(row.num_chunks, row.doc_hash) for row in rows}
    ) == 1
    has_one_metadata = len({row.carried_hash for row in rows}) == 1
    hashes = [row.text_hash for row in rows]
    return LedgerDocument(
        doc_id=doc_id,
        doc_hash=first.doc_hash if is_whole else None,
        carried_hash=first.carried_hash if is_whole and has_one_metadata else None,
        num_chunks=first.num_chunks,
        chunk_hashes=b"".join(hashes) if is_whole and all(hashes) else b"",
        max_chunks=rows[-1].chunk_index + 1,
    )
