"""The flow, driven: servers opened when they are needed, progress told, signals obeyed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from embed_index.jobs.adapters.arrangement import arrangement_of
from embed_index.jobs.adapters.kept_vectors import keeping
from embed_index.jobs.adapters.open_job import OpenJob
from embed_index.jobs.adapters.servers import (
    canary_gate,
    choose_service,
    request_for,
    requests_in_flight,
)
from embed_index.jobs.cli.progress import Reporter
from embed_index.jobs.cli.signals import stopping_on_signals
from embed_index.jobs.runs.recorded import RecordedRun, pace_point
from embed_index.pipeline.corpus.source import Source
from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.indexing import FlowLimits, Indexing
from embed_index.pipeline.model.splitter import SPLITTER_VERSION
from embed_index.pipeline.planning.meter import MeteredEmbedder
from embed_index.pipeline.planning.workload import Workload
from embed_index.pipeline.stages.earlier_cuts import EarlierCuts
from embed_index.pipeline.stages.reuse import VectorFinder
from embed_index.pipeline.versions.target import create_target
from embed_index.schemas.contract import Canary
from embed_index.schemas.errors import EmbedIndexError

if TYPE_CHECKING:
    from embed_index.jobs.evaluation.gate import QualityGate
    from embed_index.pipeline.server.service import EmbeddingService

_PROGRESS_SECONDS = 0.25
_SAVE_SECONDS = 10.0


def earlier_cuts(job: OpenJob) -> EarlierCuts | None:
    """Return what finds the cuts of a version that older rules made; None for one of today's."""
    target = job.target
    if not target.exists or target.contract.splitter == SPLITTER_VERSION:
        return None
    return EarlierCuts(reader=job.store.reader, version=target.name, splitter=job.inputs.splitter)


class IndexingPass:
    """One pass of documents through the flow, into one version of a collection."""

    def __init__(
        self,
        job: OpenJob,
        *,
        run: RecordedRun,
        source: Source,
        num_documents: int,
        find_vectors: VectorFinder,
        reporter: Reporter,
        quality: "QualityGate | None" = None,
    ) -> None:
        """Prepare the pass.

        Args:
            job: Its target is created with the first vectors if need be.
            run: Takes counts and dead letters, and writes to the target from now on.
            source: The documents that the pass is about.
            num_documents: About so many, for the progress.
            find_vectors: Finds what need not be embedded.
            reporter: Is told how the pass gets on.
            quality: Has its queries embedded by the pass's servers; None for no judging.
        """
        self._job = job
        self._run = run
        self._num_documents = num_documents
        self._reporter = reporter
        self._quality = quality
        self.start_seconds = 0.0
        """Until the servers were ready; 0 if none was needed."""
        self._meter: MeteredEmbedder | None = None
        inputs, target = job.inputs, job.target
        self._letters = run.write_to(target.name)
        self._gate = canary_gate(
            inputs.settings,
            model=inputs.model,
            tokenizer=inputs.tokenizer,
            contract=target.contract,
            version=target.name,
        )
        self.flow = Indexing(
            source=source,
            splitter=inputs.splitter,
            store=job.store,
            find_vectors=find_vectors,
            earlier_cuts=earlier_cuts(job),
            version=target.name,
            dimension=inputs.dimension,
            ledger=job.documents,
            run=run.id,
            dead_letters=self._letters,
            tally=run.tally,
            limits=FlowLimits(
                batch_tokens=inputs.settings.tokens_per_batch,
                max_requests_in_flight=requests_in_flight(inputs.settings),
                num_upserters=job.store.max_writers,
            ),
        )

        run.pace.phases = self.flow.phases

    @property
    def canaries(self) -> Sequence[Canary]:
        """As the pass's servers embedded them; a new version's are empty if none was needed."""
        return self._gate.canaries

    @property
    def work(self) -> Workload:
        """What was embedded."""
        return Workload() if self._meter is None else self._meter.work

    @property
    def embedding_seconds(self) -> float:
        """While something was at a server."""
        return 0.0 if self._meter is None else self._meter.busy_seconds

    def run(self, *, settle: Callable[[], None]) -> None:
        """Index, then settle what only is known after a pass, in a thread.

        Args:
            settle: Called after an interrupted pass too; see `flow.is_complete`.

        Raises:
            KeyboardInterrupt: The pass was asked to stop, and what was in flight is done.
        """
        asyncio.run(self._index_and(settle))
        if not self.flow.is_complete:
            raise KeyboardInterrupt

    async def _index_and(self, settle: Callable[[], None]) -> None:
        settings = self._job.inputs.settings
        self._reporter.started(collection=settings.collection, num_documents=self._num_documents)
        with stopping_on_signals(self._stop, grace_seconds=settings.grace_seconds):
            try:
                async with AsyncExitStack() as servers:
                    await self._index(servers)
                await asyncio.to_thread(settle)
            except asyncio.CancelledError:
                # Threads that wait for Milvus would outlast the grace period.
                self._job.store.close()
                raise
        self._report_progress()

    def _stop(self) -> bool:
        has_work = self.flow.stop()
        # A store that stays away would be waited for longer than any grace period.
        self._job.inputs.source.stop_waiting()
        return has_work

    async def _index(self, servers: AsyncExitStack) -> None:
        used: list[EmbeddingService] = []

        async def open_service() -> "EmbeddingService":
            if not used:
                used.append(await self._open_service(servers))
            return used[0]

        async def open_embedder() -> Embedder:
            began = time.monotonic()
            service = await open_service()
            self.start_seconds = time.monotonic() - began
            self._meter = MeteredEmbedder(service.embedder)
            return await keeping(
                self._meter, inputs=self._job.inputs, gate=self._gate, closing=servers
            )

        flow = asyncio.create_task(self.flow.run(open_embedder))
        try:
            saved = time.monotonic()
            while not flow.done():
                await asyncio.wait({flow}, timeout=_PROGRESS_SECONDS)
                self._report_progress()
                if time.monotonic() - saved > _SAVE_SECONDS:
                    saved = time.monotonic()
                    await asyncio.to_thread(self._run.save)
            await flow
            if self._quality is not None and self.flow.is_complete:
                await self._embed_queries(self._quality, open_service, is_open=bool(used))
            if self._job.inputs.settings.rebuild and self.flow.is_complete:
                # The alias is about to move: the servers must still be what they were.
                for service in used:
                    await self._gate.prove(service.embedder, service.access)
        finally:
            flow.cancel()
            await asyncio.wait({flow})

    async def _embed_queries(
        self,
        quality: "QualityGate",
        open_service: "Callable[[], Awaitable[EmbeddingService]]",
        *,
        is_open: bool,
    ) -> None:
        """Embed what the version is judged by; for a live one that embedded nothing, nothing."""
        versions, name = self._job.store.versions, self._job.target.name
        collection = self._job.inputs.settings.collection
        if not await asyncio.to_thread(versions.exists, name):
            return
        is_live = await asyncio.to_thread(versions.live, collection) == name
        if is_live and not is_open:
            return
        try:
            await quality.embed(open_service, version=name, collection=collection)
        except EmbedIndexError as error:
            if not is_live:
                raise
            # The night itself went well.
            quality.notices.append(f"the quality of {name} is unknown: {error.message}")

    async def _open_service(self, servers: AsyncExitStack) -> "EmbeddingService":
        """Get the server, prove that it fits the collection, create a new collection."""
        inputs, target, quality = self._job.inputs, self._job.target, self._quality
        settings = inputs.settings
        request = request_for(
            settings,
            model=inputs.model,
            gate=self._gate,
            max_tokens=max(settings.max_tokens, quality.longest_tokens if quality else 0),
            tell=self._reporter.notice,
        )
        owner = f"{settings.collection}-{self._run.name}"
        service = await servers.enter_async_context(
            choose_service(settings, request=request, log_owner=owner)
        )
        self._note_precisions()
        if not target.exists:
            contract = target.contract.model_copy(
                update={
                    "engine": self._gate.made_with.engine,
                    "dtype": self._gate.made_with.dtype,
                    "canaries": self._gate.canaries,
                }
            )
            await asyncio.to_thread(
                create_target,
                self._job.store.versions,
                settings.collection,
                target,
                contract=contract,
                arrangement=arrangement_of(settings),
            )
        return service

    def _note_precisions(self) -> None:
        contract = self._job.target.contract
        self._run.made_in(tuple(self._gate.precisions), collection_id=contract.collection_id)

    def _report_progress(self) -> None:
        # Servers may come later, or come back as others.
        self._note_precisions()
        counters = self._run.counters()
        self._run.pace.see(pace_point(counters))
        self._reporter.progressed(counters, waiting_for=self.flow.bottleneck())
        for notice in self._job.inputs.source.take_notices():
            self._reporter.notice(notice)
        for letter in self._letters.take_untold():
            self._reporter.dead_letter(letter)
