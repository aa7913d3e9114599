"""What an audit can find, and what it found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

DriftKind: TypeAlias = Literal[
    "missing",
    "stale",
    "altered",
    "metadata",
    "vector",
    "orphaned",
    "foreign",
    "duplicate",
    "unrecorded",
    "pending",
    "misrecorded",
]
DRIFT_KINDS: tuple[DriftKind, ...] = get_args(DriftKind)

MEANINGS: Mapping[DriftKind, str] = {
    "missing": "a chunk of the corpus has no row in Milvus",
    "stale": "the row is of another text of its document",
    "altered": "text, place or number of chunks of the row are not the chunk's",
    "metadata": "the row's carried columns are not the document's",
    "vector": "the server gives the chunk another vector",
    "orphaned": "no chunk of the corpus calls for the row, and nothing says to keep it",
    "foreign": "the row's key is not that of its document and index",
    "duplicate": "Milvus holds more than one row under the key",
    "unrecorded": "the ledger does not know the document",
    "pending": "the ledger knows that the document was begun, and not that it was finished",
    "misrecorded": "the ledger says otherwise of the document than the corpus",
}


class Finding(NamedTuple):
    """One thing that is not as it should be."""

    kind: DriftKind
    doc_id: str
    chunk_id: str | None = None
    """None where it is about the document as the ledger knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftCount:
    """How often a kind of drift was found, and where first."""

    count: int
    examples: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """One comparison of corpus, ledger and Milvus."""

    collection: str
    version: str
    num_documents: int
    """Usable documents of the corpus, each id once."""
    num_chunks: int
    """That these documents call for."""
    num_rows: int
    """That Milvus counts."""
    num_sampled: int
    """Chunks whose vectors were made again and compared."""
    num_dead_letters: int
    """Open ones; the chunks that they stand for are not missing."""
    num_retained: int
    """Documents that the corpus no longer has, and that a job without `delete_missing` keeps."""
    drift: Mapping[DriftKind, DriftCount]
    """Only what was found, in the order of `DRIFT_KINDS`."""

    @property
    def has_drift(self) -> bool:
        """Whether anything was found."""
        return bool(self.drift)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """An audit and, after a repair, the audit that followed it."""

    found: AuditReport
    ledger_rebuilt: bool = False
    """Whether the ledger did not know the version, and a repair read it from Milvus first."""
    num_chunks_embedded: int = 0
    """By the repair."""
    after_repair: AuditReport | None = None
    """None where nothing was to be repaired."""

    @property
    def left(self) -> AuditReport:
        """What is the case now."""
        return self.after_repair or self.found
