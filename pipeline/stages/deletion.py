"""Deleting documents that the corpus no longer has."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerEntry
from embed_index.pipeline.stages.comparison import CorpusPass
from embed_index.pipeline.stages.store import Store
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.ids import chunk_id

_DOCUMENTS_PER_STEP = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionLimits:
    """What may be deleted."""

    allowed: bool
    max_share: float
    """Of all documents; more needs `force`."""
    force: bool
    num_files: int = 0
    """Of the corpus; fewer than half of `num_files_before` need `force`, too."""
    num_files_before: int = 0
    """When the corpus was last read as a whole; 0 where that is not known."""

    def check(self, num_missing: int, *, num_documents: int) -> None:
        """Refuse to delete more of the documents than may be, or what may stand in other files.

        Raises:
            ConfigurationError: More are missing, or most files of the last time are not there.
        """
        self.check_files(num_missing)
        if num_missing > self.max_share * num_documents and not self.force:
            raise ConfigurationError(
                f"delete_missing: {num_missing:,} of {num_documents:,} documents are no longer in"
                f" the corpus, more than the share of {self.max_share:.0%} that may be deleted;"
                " everything else is done, and nothing was deleted",
                remedy="Check that --input names the whole corpus. If it does, run once with"
                " --force, or raise max_delete_share.",
            )

    def check_files(self, num_missing: int) -> None:
        """Refuse to delete what may stand in files that are away, such as those of a mount.

        Raises:
            ConfigurationError: Most files of the last time are not there, and something is missing.
        """
        if num_missing and not self.force and 2 * self.num_files < self.num_files_before:
            raise ConfigurationError(
                f"delete_missing: the corpus has {counted(self.num_files, 'file')}, and had"
                f" {self.num_files_before:,} when it was last read; {num_missing:,} documents are"
                " missing; everything else is done, and nothing was deleted",
                remedy="Check that all of the corpus is there, and that --input names it. If it"
                " does, run once with --force.",
            )


def count_missing(corpus_pass: CorpusPass) -> int:
    """Count the ledger's documents that a complete pass did not meet."""
    return sum(1 for _ in corpus_pass.missing())


def delete_missing(
    corpus_pass: CorpusPass,
    *,
    ledger: DocumentLedger,
    store: Store,
    version: str,
    limits: DeletionLimits,
) -> int:
    """Delete the documents that a complete pass did not meet; return how many.

    Each step is written down before Milvus is told, so that a run that dies here is finished by
    the next one.

    Raises:
        ConfigurationError: More documents are missing than may be deleted, or most of the files
            are; nothing was deleted.
    """
    num_documents = ledger.num_documents()
    num_missing = count_missing(corpus_pass)
    limits.check(num_missing, num_documents=num_documents)
    for entries in _steps(corpus_pass.missing()):
        doc_ids = [entry.doc_id for entry in entries]
        ledger.begin([(doc_id, 0) for doc_id in doc_ids])
        store.delete_chunks(
            version,
            [
                chunk_id(entry.doc_id, index)
                for entry in entries
                for index in range(entry.max_chunks)
            ],
        )
        ledger.forget(doc_ids)
    return num_missing


def _steps(entries: Iterator[LedgerEntry]) -> Iterator[list[LedgerEntry]]:
    while step := list(islice(entries, _DOCUMENTS_PER_STEP)):
        yield step
