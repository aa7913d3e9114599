"""A job at work on one version of its collection: everything open that a pass needs."""

from dataclasses import dataclass

from embed_index.jobs.adapters.inputs import JobInputs
from embed_index.jobs.adapters.ledgers import claim_collection
from embed_index.pipeline.audit.ledger_rebuild import open_documents
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.stages.deletion import DeletionLimits
from embed_index.pipeline.versions.target import TargetVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenJob:
    """What a pass reads and writes; whoever opened it holds the run lock and closes it."""

    inputs: JobInputs
    ledger: Ledger
    store: MilvusStore
    target: TargetVersion
    documents: DocumentLedger
    """The ledger's documents of the target."""

    @property
    def deletion_limits(self) -> DeletionLimits:
        """What this job may delete."""
        return deletion_limits(self.inputs, ledger=self.ledger)


def deletion_limits(inputs: JobInputs, *, ledger: Ledger) -> DeletionLimits:
    """Return what a job may delete, by its settings and by what its last run read."""
    settings = inputs.settings
    return DeletionLimits(
        allowed=settings.delete_missing,
        max_share=settings.max_delete_share,
        force=settings.force,
        num_files=len(inputs.source.files),
        num_files_before=ledger.runs.last_num_files(),
    )


def open_job(
    inputs: JobInputs, *, ledger: Ledger, store: MilvusStore, target: TargetVersion
) -> OpenJob:
    """Open the target's documents, rebuilt from Milvus where the ledger was lost."""
    claim_collection(inputs.settings, store=store)
    documents = open_documents(
        ledger, target, reader=store.reader, folder=inputs.settings.state_dir
    )
    return OpenJob(inputs=inputs, ledger=ledger, store=store, target=target, documents=documents)
