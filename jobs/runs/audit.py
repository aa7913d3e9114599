"""An audit of a collection, and its repair: adapters built, the run lock taken."""

import asyncio
import io
import time
from contextlib import AsyncExitStack, ExitStack
from functools import partial

from embed_index.jobs.adapters.inputs import JobInputs, check_inputs
from embed_index.jobs.adapters.live_version import settled_target
from embed_index.jobs.adapters.places import ledger_path, lock_path, open_job_store
from embed_index.jobs.adapters.servers import choose_service
from embed_index.jobs.cli.progress import PlainReporter
from embed_index.jobs.runs.index import RecordedRun
from embed_index.pipeline.audit.audit import AuditPass, AuditSample
from embed_index.pipeline.audit.ledger_rebuild import open_documents
from embed_index.pipeline.audit.mending import (
    AffectedDocuments,
    begin_affected,
    delete_departed,
    delete_superfluous,
)
from embed_index.pipeline.audit.notes import AuditNotes
from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.embedding.canaries import MAX_CANARY_TOKENS, CanaryGate, made_with
from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.server.service import EmbeddingRequest
from embed_index.pipeline.stages.deletion import DeletionLimits
from embed_index.pipeline.stages.reuse import find_vectors_by_text
from embed_index.pipeline.stages.selection import Selection
from embed_index.pipeline.versions.target import TargetVersion
from embed_index.schemas.audit_findings import AuditReport, Verification
from embed_index.schemas.settings import JobSettings


def verify_collection(settings: JobSettings, *, repair: bool, num_samples: int) -> Verification:
    """Compare corpus, ledger and Milvus; mend what differs, if asked to, and compare again.

    A ledger that was lost is rebuilt by a repair before anything else, without embedding.

    Raises:
        EmbedIndexError: As the exit codes say; drift is no error here.
    """
    with ExitStack() as stack:
        inputs = check_inputs(settings)
        stack.enter_context(RunLock(lock_path(settings, settings.collection)))
        path = ledger_path(settings, settings.collection)
        ledger = stack.enter_context(Ledger(path)) if repair or path.exists() else None
        store = stack.enter_context(open_job_store(settings))
        target = settled_target(inputs, store=store)
        audit = _Audit(inputs, ledger=ledger, store=store, target=target)
        if ledger is None or not repair:
            with AuditNotes.open(settings.state_dir) as notes:
                return Verification(found=audit.run(notes, num_samples=num_samples))
        return _repair(audit, ledger=ledger, num_samples=num_samples)


class _Audit:
    """Audits of one version, one after the other."""

    def __init__(
        self, inputs: JobInputs, *, ledger: Ledger | None, store: MilvusStore, target: TargetVersion
    ) -> None:
        self.inputs = inputs
        self.ledger = ledger
        self.store = store
        self.target = target

    def run(self, notes: AuditNotes, *, num_samples: int) -> AuditReport:
        """Compare everything, with a server only if vectors are to be compared."""
        return asyncio.run(self._run(notes, num_samples=num_samples))

    async def _run(self, notes: AuditNotes, *, num_samples: int) -> AuditReport:
        inputs, ledger = self.inputs, self.ledger
        async with AsyncExitStack() as servers:
            audit = AuditPass(
                collection=inputs.settings.collection,
                version=self.target.name,
                source=inputs.source,
                splitter=inputs.splitter,
                reader=self.store.reader,
                documents=self._documents(),
                letters=None if ledger is None else ledger.dead_letters,
                notes=notes,
                sample=AuditSample(
                    num_chunks=num_samples,
                    dimension=inputs.dimension,
                    batch_tokens=inputs.settings.tokens_per_batch,
                    open_embedder=partial(self._open_embedder, servers),
                ),
                keeps_departed=not inputs.settings.delete_missing,
            )
            return await audit.run()

    def _documents(self) -> DocumentLedger | None:
        ledger, name = self.ledger, self.target.name
        collection_id = self.target.contract.collection_id
        if ledger is None or not ledger.knows(name, collection_id=collection_id):
            return None
        return ledger.find_documents(name)

    async def _open_embedder(self, servers: AsyncExitStack) -> Embedder:
        inputs, settings = self.inputs, self.inputs.settings
        gate = CanaryGate(
            inputs.tokenizer,
            dimension=inputs.dimension,
            version=self.target.name,
            known=self.target.contract.canaries,
            made_with=made_with(self.target.contract),
        )
        request = EmbeddingRequest(
            model=inputs.model,
            dimension=inputs.dimension,
            max_tokens=max(settings.max_tokens, MAX_CANARY_TOKENS),
            answer_seconds=settings.request_timeout_seconds,
            prove=gate.prove,
        )
        service = choose_service(settings, request=request, max_servers=1)
        return (await servers.enter_async_context(service)).embedder


def _repair(audit: _Audit, *, ledger: Ledger, num_samples: int) -> Verification:
    settings, store, target = audit.inputs.settings, audit.store, audit.target
    collection_id = target.contract.collection_id
    was_lost = not ledger.knows(target.name, collection_id=collection_id)
    documents = open_documents(
        ledger,
        version=target.name,
        collection_id=collection_id,
        reader=store.reader,
        folder=settings.state_dir,
    )
    with AuditNotes.open(settings.state_dir) as notes:
        found = audit.run(notes, num_samples=num_samples)
        if not found.has_drift:
            return Verification(found=found, ledger_rebuilt=was_lost)
        num_embedded = _mend(audit, notes, ledger=ledger, documents=documents)
    with AuditNotes.open(settings.state_dir) as notes:
        return Verification(
            found=found,
            ledger_rebuilt=was_lost,
            num_chunks_embedded=num_embedded,
            after_repair=audit.run(notes, num_samples=0),
        )


def _mend(audit: _Audit, notes: AuditNotes, *, ledger: Ledger, documents: DocumentLedger) -> int:
    """Mend what was found; return the number of chunks that had to be embedded."""
    inputs, store, target = audit.inputs, audit.store, audit.target
    settings = inputs.settings
    num_affected = begin_affected(notes, ledger=documents)
    delete_superfluous(notes, store=store, version=target.name)

    def settle(_: int) -> None:
        delete_departed(
            notes,
            ledger=documents,
            store=store,
            version=target.name,
            limits=DeletionLimits(
                allowed=settings.delete_missing,
                max_share=settings.max_delete_share,
                force=settings.force,
            ),
        )
        store.flush(target.name)

    selection = Selection(
        source=AffectedDocuments(inputs.source, notes),
        num_documents=num_affected,
        find_vectors=partial(
            find_vectors_by_text,
            reader=store.reader,
            version=target.name,
            find_untrusted=notes.untrusted,
        ),
        settle=settle,
    )
    summary = RecordedRun(
        inputs,
        ledger=ledger,
        store=store,
        target=target,
        reporter=PlainReporter(stream=io.StringIO(), results=io.StringIO(), quiet=True),
        began=time.monotonic(),
        selection=selection,
    ).run()
    return summary.num_chunks_embedded
