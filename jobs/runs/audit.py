"""An audit of a collection, and its repair: adapters built, the run lock taken."""

import asyncio
import io
import time
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, nullcontext
from functools import partial

from embed_index.jobs.adapters.inputs import JobInputs, check_inputs
from embed_index.jobs.adapters.ledgers import locked_collection
from embed_index.jobs.adapters.live_version import settled_target
from embed_index.jobs.adapters.open_job import OpenJob, open_job
from embed_index.jobs.adapters.places import ledger_path, open_job_store
from embed_index.jobs.adapters.servers import canary_gate, choose_service, request_for
from embed_index.jobs.cli.progress import PlainReporter
from embed_index.jobs.cli.signals import run_interruptibly
from embed_index.jobs.runs.indexing_pass import IndexingPass
from embed_index.jobs.runs.recorded import RecordedRun, failures_recorded
from embed_index.pipeline.audit.audit import AuditPass, AuditSample
from embed_index.pipeline.audit.mending import (
    AffectedDocuments,
    begin_affected,
    delete_departed,
    delete_superfluous,
)
from embed_index.pipeline.audit.notes import AuditNotes
from embed_index.pipeline.embedding.canaries import min_cosine
from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.model.splitter import SPLITTER_VERSION
from embed_index.pipeline.server.server_log import name_log
from embed_index.pipeline.stages.reuse import find_vectors_by_text
from embed_index.pipeline.versions.target import TargetVersion
from embed_index.schemas.audit_findings import AuditReport, Verification
from embed_index.schemas.precision import FP8
from embed_index.schemas.settings import JobSettings


def verify_collection(settings: JobSettings, *, repair: bool, num_samples: int) -> Verification:
    """Compare corpus, ledger and Milvus; mend what differs, if asked to, and compare again.

    A ledger that was lost is rebuilt by a repair before anything else, without embedding.

    Raises:
        EmbedIndexError: As the exit codes say; drift is no error here.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        path = ledger_path(settings, settings.collection)
        ledger = None
        failures: AbstractContextManager[None] = nullcontext()
        if path.exists():
            stack.enter_context(locked_collection(settings))
            ledger = stack.enter_context(Ledger(path))
            if repair:
                failures = failures_recorded(settings, ledger=ledger, began=began)
        with failures:
            inputs = check_inputs(settings)
            if ledger is None:
                # Only now, so that nothing is created for what cannot be compared.
                stack.enter_context(locked_collection(settings))
                ledger = stack.enter_context(Ledger(path)) if repair else None
            store = stack.enter_context(open_job_store(settings))
            target = settled_target(inputs, store=store)
            audit = _Audit(inputs, ledger=ledger, store=store, target=target)
            if ledger is None or not repair:
                with AuditNotes.open(settings.state_dir) as notes:
                    return Verification(found=audit.run(notes, num_samples=num_samples))
            was_lost = not ledger.knows(target.name, collection_id=target.contract.collection_id)
            job = open_job(inputs, ledger=ledger, store=store, target=target)
            noted = stack.enter_context(ExitStack())
            notes = noted.enter_context(AuditNotes.open(settings.state_dir))
            found = audit.run(notes, num_samples=num_samples)
        if not found.has_drift:
            return Verification(found=found, ledger_rebuilt=was_lost)
        num_embedded = _mend(job, notes)
        noted.close()
        with AuditNotes.open(settings.state_dir) as notes:
            return Verification(
                found=found,
                ledger_rebuilt=was_lost,
                num_chunks_embedded=num_embedded,
                after_repair=audit.run(notes, num_samples=0),
            )


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
        return run_interruptibly(self._run(notes, num_samples=num_samples))

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
                    min_cosine=min_cosine(*self._precisions()),
                ),
                keeps_departed=not inputs.settings.delete_missing,
                has_earlier_cuts=self.target.contract.splitter != SPLITTER_VERSION,
            )
            try:
                return await audit.run()
            except asyncio.CancelledError:
                # The thread that reads or waits for Milvus would hold up the end.
                audit.stop()
                self.store.close()
                raise

    def _precisions(self) -> tuple[str, ...]:
        """Name those in which stored vectors may have been made."""
        mixed = (FP8,) if self.inputs.settings.mixed_precision else ()
        return (self.target.contract.dtype, *mixed)

    def _documents(self) -> DocumentLedger | None:
        ledger, name = self.ledger, self.target.name
        collection_id = self.target.contract.collection_id
        if ledger is None or not ledger.knows(name, collection_id=collection_id):
            return None
        return ledger.find_documents(name)

    async def _open_embedder(self, servers: AsyncExitStack) -> Embedder:
        inputs, settings = self.inputs, self.inputs.settings
        gate = canary_gate(
            settings,
            model=inputs.model,
            tokenizer=inputs.tokenizer,
            contract=self.target.contract,
            version=self.target.name,
        )
        request = request_for(
            settings, model=inputs.model, gate=gate, max_tokens=settings.max_tokens
        )
        service = choose_service(
            settings,
            request=request,
            max_servers=1,
            log_owner=name_log(f"{settings.collection}-verify"),
        )
        return (await servers.enter_async_context(service)).embedder


def _mend(job: OpenJob, notes: AuditNotes) -> int:
    """Write the affected documents again; return the number of chunks that had to be embedded."""
    store, version = job.store, job.target.name
    run = RecordedRun(job.inputs.settings, ledger=job.ledger, began=time.monotonic())
    with run.under_way():
        num_affected = begin_affected(notes, ledger=job.documents)
        delete_superfluous(notes, store=store, version=version)
        indexing = IndexingPass(
            job,
            run=run,
            source=AffectedDocuments(job.inputs.source, notes),
            num_documents=num_affected,
            find_vectors=partial(
                find_vectors_by_text,
                reader=store.reader,
                version=version,
                contract=job.target.contract,
                find_untrusted=notes.untrusted,
            ),
            reporter=PlainReporter(stream=io.StringIO(), results=io.StringIO(), quiet=True),
        )

        def settle_repair() -> None:
            if indexing.flow.is_complete:
                delete_departed(
                    notes,
                    ledger=job.documents,
                    store=store,
                    version=version,
                    limits=job.deletion_limits,
                )
                store.flush(version)

        indexing.run(settle=settle_repair)
    run.finish("mended")
    return run.tally.num_chunks_embedded
