"""What goes into the ledger's document table and what comes out of it."""

from dataclasses import dataclass
from typing import NamedTuple

CHUNK_HASH_BYTES = 16


class LedgerEntry(NamedTuple):
    """One document as the ledger knows it; a tuple, because a run may build millions."""

    doc_id: str
    row: int
    """Stable for as long as the document is in the ledger; never given to another."""
    doc_hash: str | None
    """None from `register` or `begin` until `commit`: what Milvus holds is not known."""
    carried_hash: str | None
    """None also between `begin_refresh` and `commit_refresh`."""
    num_chunks: int
    max_chunks: int
    """Milvus may hold chunks 0 to `max_chunks - 1` of this document, and no others."""
    last_run: int | None
    """The run that committed it last; None if none ever did."""

    @property
    def was_committed(self) -> bool:
        """Whether it ever was in the collection as a whole, as far as the ledger knows.

        Of a ledger that was rebuilt from Milvus, where no run says so, all count that have rows.
        """
        return self.doc_hash is not None or self.last_run is not None or self.num_chunks > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerDocument:
    """A document whose chunks are all in Milvus but for the dead ones, and no others of it."""

    doc_id: str
    doc_hash: str | None
    """None (only in `replace_all`) where Milvus holds an incomplete document."""
    carried_hash: str | None
    """None (only in `replace_all`) to have the metadata refreshed by the next run."""
    num_chunks: int
    chunk_hashes: bytes
    """`CHUNK_HASH_BYTES` per chunk, in order; empty where unknown."""
    dead_chunks: tuple[int, ...] = ()
    """Indexes of chunks that cannot be embedded; a dead letter stands for them."""
    max_chunks: int | None = None
    """None for `num_chunks`; more (only in `replace_all`) where Milvus holds orphans."""

    def __post_init__(self) -> None:
        if len(self.chunk_hashes) not in {0, CHUNK_HASH_BYTES * self.num_chunks}:
            raise ValueError(f"document {self.doc_id!r}: chunk hashes do not match its chunks")

    def columns(self) -> tuple[str | None, str | None, int, int, bytes]:
        """Return both hashes, both chunk counts and the chunk hashes, as stored."""
        max_chunks = self.num_chunks if self.max_chunks is None else self.max_chunks
        return (
            self.doc_hash,
            self.carried_hash,
            self.num_chunks,
            max_chunks,
            self.chunk_hashes,
        )


class Refreshed(NamedTuple):
    """A document whose rows were written again with the vectors that were there."""

    doc_id: str
    carried_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCounts:
    """Sizes of one collection version."""

    num_documents: int
    num_pending: int
    """Registered or begun, and not committed."""
    num_chunks: int
    """Of the committed documents, without the dead ones."""
