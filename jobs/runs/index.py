"""One run of a job: adapters built, corpus indexed, collection settled, outcome recorded."""

import asyncio
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict
from functools import partial

from embed_index.jobs.adapters.inputs import JobInputs, check_inputs
from embed_index.jobs.adapters.live_version import adopt_types
from embed_index.jobs.adapters.places import (
    dead_letter_folder,
    ledger_path,
    lock_path,
    open_job_store,
)
from embed_index.jobs.adapters.servers import choose_service, requests_in_flight
from embed_index.jobs.cli.failures import exit_code, first_cause
from embed_index.jobs.cli.progress import Reporter
from embed_index.jobs.cli.signals import stopping_on_signals
from embed_index.pipeline.audit.ledger_rebuild import open_documents
from embed_index.pipeline.disk.heap import bound_heap
from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.embedding.canaries import MAX_CANARY_TOKENS, CanaryGate, made_with
from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.indexing import FlowLimits, Indexing
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.ledger.runs import Outcome
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.pipeline.server.service import EmbeddingRequest, EmbeddingService
from embed_index.pipeline.settling import settle
from embed_index.pipeline.stages.dead_letters import DeadLetterFile, allowed_dead_letters
from embed_index.pipeline.stages.deletion import DeletionLimits
from embed_index.pipeline.stages.reuse import find_vectors
from embed_index.pipeline.stages.selection import Selection
from embed_index.pipeline.stages.tally import DeadLetterBox, RunTally
from embed_index.pipeline.versions.target import TargetVersion, choose_target, create_target
from embed_index.schemas.errors import DeadLetterLimitError, EmbedIndexError
from embed_index.schemas.settings import JobSettings
from embed_index.schemas.summary import RunCounters, RunSummary

_PROGRESS_SECONDS = 0.25
_SAVE_SECONDS = 10.0


def run_index_job(settings: JobSettings, *, reporter: Reporter) -> RunSummary:
    """Bring the collection in step with the corpus.

    Raises:
        EmbedIndexError: As the exit codes say; what was done is kept, and the next run goes on.
        KeyboardInterrupt: The run was asked to stop, and what was in flight is done.
    """
    began = time.monotonic()
    bound_heap()
    with ExitStack() as stack:
        inputs = check_inputs(settings)
        stack.enter_context(RunLock(lock_path(settings, settings.collection)))
        ledger = stack.enter_context(Ledger(ledger_path(settings, settings.collection)))
        store = stack.enter_context(open_job_store(settings))
        adopt_types(inputs, store=store)
        target = choose_target(
            store.versions,
            settings.collection,
            wanted=inputs.contract(),
            carried=inputs.source.carried_columns,
            rebuild=settings.rebuild,
            once_live=ledger.once_live(),
        )
        return RecordedRun(
            inputs, ledger=ledger, store=store, target=target, reporter=reporter, began=began
        ).run()


class RecordedRun:
    """A run with its place in the history, from start to outcome."""

    def __init__(
        self,
        inputs: JobInputs,
        *,
        ledger: Ledger,
        store: MilvusStore,
        target: TargetVersion,
        reporter: Reporter,
        began: float,
        selection: Selection | None = None,
    ) -> None:
        self._inputs = inputs
        self._settings = inputs.settings
        self._ledger = ledger
        self._store = store
        self._target = target
        self._reporter = reporter
        self._began = began
        self._tally = RunTally()
        self._selection = selection
        self._documents = self._open_documents()
        self._run = ledger.runs.start(target.name)
        self._letter_file = DeadLetterFile(
            dead_letter_folder(self._settings, self._settings.collection), run=self._run.name
        )
        self._letters = DeadLetterBox(
            self._letter_file,
            ledger=ledger.dead_letters,
            version=target.name,
            run=self._run.id,
            tally=self._tally,
        )
        self._gate = CanaryGate(
            inputs.tokenizer,
            dimension=inputs.dimension,
            version=target.name,
            known=target.contract.canaries if target.exists else (),
            made_with=made_with(target.contract) if target.exists else None,
        )
        find_all = partial(
            find_vectors, reader=store.reader, version=target.name, ledger=self._documents
        )
        self._indexing = Indexing(
            source=selection.source if selection else inputs.source,
            splitter=inputs.splitter,
            store=store,
            find_vectors=selection.find_vectors if selection else find_all,
            version=target.name,
            dimension=inputs.dimension,
            ledger=self._documents,
            run=self._run.id,
            dead_letters=self._letters,
            tally=self._tally,
            limits=FlowLimits(
                batch_tokens=self._settings.tokens_per_batch,
                max_requests_in_flight=requests_in_flight(self._settings),
                num_upserters=store.max_writers,
            ),
        )

    def run(self) -> RunSummary:
        """Index, settle, record the outcome and report it."""
        try:
            with self._letter_file:
                self._index_until_done_or_stopped()
        except BaseException as error:
            self._finish_early(first_cause(error))
            raise
        summary = self._summary()
        if self._selection is not None:
            self._finish("mended", code=0)
            self._reporter.finished(summary)
            return summary
        allowed = allowed_dead_letters(
            self._settings.max_dead_letters, num_rows=self._tally.num_documents_read
        )
        failure = _too_many(summary, allowed=allowed)
        if failure is None:
            self._finish("done", code=0)
        else:
            self._finish("dead_letters", code=exit_code(failure), error=failure.message)
        self._reporter.finished(summary, failure=failure)
        if failure is not None:
            raise failure
        return summary

    def _open_documents(self) -> DocumentLedger:
        version, collection_id = self._target.name, self._target.contract.collection_id
        if not self._target.exists:
            return self._ledger.documents(version, collection_id=collection_id)
        return open_documents(
            self._ledger,
            version=version,
            collection_id=collection_id,
            reader=self._store.reader,
            folder=self._settings.state_dir,
        )

    def _index_until_done_or_stopped(self) -> None:
        asyncio.run(self._index_and_settle())
        if not self._indexing.is_complete:
            raise KeyboardInterrupt

    async def _index_and_settle(self) -> None:
        selection = self._selection
        num_documents = selection.num_documents if selection else self._inputs.source.num_rows
        self._reporter.started(collection=self._settings.collection, num_documents=num_documents)
        with stopping_on_signals(self._indexing.stop, grace_seconds=self._settings.grace_seconds):
            try:
                async with AsyncExitStack() as servers:
                    await self._index(servers)
                await asyncio.to_thread(self._settle)
            except asyncio.CancelledError:
                # Threads that wait for Milvus would outlast the grace period.
                self._store.close()
                raise
        self._report_progress()

    async def _index(self, servers: AsyncExitStack) -> None:
        used: list[EmbeddingService] = []

        async def open_embedder() -> Embedder:
            used.append(await self._open_service(servers))
            return used[0].embedder

        flow = asyncio.create_task(self._indexing.run(open_embedder))
        try:
            saved = time.monotonic()
            while not flow.done():
                await asyncio.wait({flow}, timeout=_PROGRESS_SECONDS)
                self._report_progress()
                if time.monotonic() - saved > _SAVE_SECONDS:
                    saved = time.monotonic()
                    await asyncio.to_thread(
                        self._ledger.runs.update, self._run.id, counters=self._counters()
                    )
            await flow
            if self._settings.rebuild and self._indexing.is_complete:
                # The alias is about to move: the servers must still be what they were.
                for service in used:
                    await self._gate.prove(service.embedder, service.access)
        finally:
            flow.cancel()
            await asyncio.wait({flow})

    async def _open_service(self, servers: AsyncExitStack) -> EmbeddingService:
        """Get the server, prove that it fits the collection, create a new collection."""
        settings, inputs, target = self._settings, self._inputs, self._target
        gate = self._gate
        request = EmbeddingRequest(
            model=inputs.model,
            dimension=inputs.dimension,
            max_tokens=max(settings.max_tokens, MAX_CANARY_TOKENS),
            answer_seconds=settings.request_timeout_seconds,
            prove=gate.prove,
            tell=self._reporter.notice,
        )
        service = await servers.enter_async_context(choose_service(settings, request=request))
        if not target.exists:
            contract = target.contract.model_copy(
                update={
                    "engine": service.access.engine,
                    "dtype": service.access.dtype,
                    "canaries": gate.canaries,
                }
            )
            await asyncio.to_thread(
                create_target, self._store.versions, settings.collection, target, contract=contract
            )
        return service

    def _settle(self) -> None:
        settings = self._settings
        if self._selection is not None:
            if self._indexing.is_complete:
                self._selection.settle(self._run.id)
            return
        settle(
            self._indexing,
            ledger=self._ledger,
            documents=self._documents,
            store=self._store,
            target=self._target,
            alias=settings.collection,
            run=self._run.id,
            tally=self._tally,
            deletion=DeletionLimits(
                allowed=settings.delete_missing,
                max_share=settings.max_delete_share,
                force=settings.force,
            ),
            canaries=self._gate.canaries,
        )

    def _report_progress(self) -> None:
        self._reporter.progressed(self._counters(), waiting_for=self._indexing.bottleneck())
        for notice in self._inputs.source.take_notices():
            self._reporter.notice(notice)
        for letter in self._letters.take_untold():
            self._reporter.dead_letter(letter)

    def _counters(self) -> RunCounters:
        return self._tally.counters(seconds=time.monotonic() - self._began)

    def _finish_early(self, cause: BaseException) -> None:
        interrupted = isinstance(cause, KeyboardInterrupt)
        try:
            self._finish(
                "interrupted" if interrupted else "failed",
                code=exit_code(cause),
                error=REDACTOR.scrub(str(cause)),
            )
        except EmbedIndexError as second:
            # What ended the run is what people must read first; the history shows that it died.
            cause.add_note(second.message)

    def _finish(self, outcome: Outcome, *, code: int, error: str = "") -> None:
        self._ledger.runs.finish(
            self._run.id, outcome=outcome, exit_code=code, counters=self._counters(), error=error
        )

    def _summary(self) -> RunSummary:
        letters = self._letter_file.path
        return RunSummary(
            collection=self._settings.collection,
            version=self._target.name,
            dead_letters_file=str(letters) if letters.exists() else None,
            **asdict(self._counters()),
        )


def _too_many(summary: RunSummary, *, allowed: int) -> DeadLetterLimitError | None:
    if summary.num_dead_letters <= allowed:
        return None
    return DeadLetterLimitError(
        f"{summary.num_dead_letters:,} dead letters of {summary.num_documents_read:,} rows,"
        f" and {allowed:,} are allowed; everything else is in the collection",
        remedy=f"See {summary.dead_letters_file}, or raise --max-dead-letters.",
    )
