"""The whole job on one page: corpus -> chunks -> vectors -> collection -> ledger.

    read and cut        a thread steps a generator: files that are not as they were are read, their
                        rows compared with the ledger, and what is new or changed becomes chunks,
                        packed by tokens
    embed               as many tasks as requests may be in flight
    upsert              what is waiting, in large requests; a document is whole when its last
                        chunk is acknowledged
    commit              orphans of whole documents are deleted, then the ledger is told

Channels between the stages are bounded, so a slow stage slows those before it. The first failure
cancels the rest and is what the caller sees; the ledger then says less than Milvus holds, never
more.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from embed_index.pipeline.corpus.source import RowBatch, Source
from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.model.splitter import TextSplitter
from embed_index.pipeline.report.pace import PhaseClock
from embed_index.pipeline.stages.channel import Channel
from embed_index.pipeline.stages.comparison import CorpusPass
from embed_index.pipeline.stages.dead_letters import duplicate_letter
from embed_index.pipeline.stages.earlier_cuts import EarlierCuts
from embed_index.pipeline.stages.file_memory import FileMemory
from embed_index.pipeline.stages.isolation import embed_or_isolate
from embed_index.pipeline.stages.open_documents import (
    OpenDocument,
    OpenDocuments,
    cut_documents,
    open_document,
)
from embed_index.pipeline.stages.packing import TokenPacker, merge_batches
from embed_index.pipeline.stages.reuse import VectorFinder, batch_reused
from embed_index.pipeline.stages.stopping import (
    StoppableSplitter,
    read_until_stopped,
    until_stopped,
)
from embed_index.pipeline.stages.store import Store
from embed_index.pipeline.stages.tally import DeadLetterBox, RunTally
from embed_index.schemas.records import Chunk, ChunkBatch, EmbeddedBatch

_MAX_CHUNKS_PER_BATCH = 512
_ROWS_PER_UPSERT = 1024
_COMMITS_PER_TRANSACTION = 1024
_SILENT_SECONDS = 10.0
"""Without any answer; full batches take a CPU that long, and rarely longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLimits:
    """How much is on its way at once."""

    batch_tokens: int
    max_requests_in_flight: int
    """Over all servers."""
    num_upserters: int


class Indexing:
    """One pass of a corpus through the pipeline."""

    def __init__(
        self,
        *,
        source: Source,
        splitter: TextSplitter,
        store: Store,
        find_vectors: VectorFinder,
        earlier_cuts: EarlierCuts | None = None,
        version: str,
        dimension: int,
        ledger: DocumentLedger,
        run: int,
        dead_letters: DeadLetterBox,
        tally: RunTally,
        limits: FlowLimits,
    ) -> None:
        self._source = source
        self._stopping = threading.Event()
        self._splitter = StoppableSplitter(splitter, self._stopping)
        self._store = store
        self._find_vectors = find_vectors
        self._earlier_cuts = earlier_cuts
        self._version = version
        self._dimension = dimension
        self._ledger = ledger
        self._run = run
        self._dead_letters = dead_letters
        self._tally = tally
        self._limits = limits
        self._open = OpenDocuments()
        self._to_embed = Channel[ChunkBatch](capacity=limits.max_requests_in_flight + 2)
        self._to_upsert = Channel[EmbeddedBatch](capacity=2 * limits.max_requests_in_flight)
        self._to_commit = Channel[OpenDocument](capacity=2 * _COMMITS_PER_TRANSACTION)
        self.corpus_pass = CorpusPass(ledger)
        self._files = FileMemory(
            ledger, corpus_pass=self.corpus_pass, tally=tally, stopping=self._stopping
        )
        self.text_bytes = 0
        """Of the usable texts that were read."""
        self._is_opening = False
        self._is_embedding = False
        self._num_at_servers = 0
        self._last_answer = 0.0
        self.phases = PhaseClock()

    @property
    def is_complete(self) -> bool:
        """Whether the whole corpus was read; only then is it known what is missing."""
        return not self._stopping.is_set()

    def seal(self) -> None:
        """Let the next run recognise what this one read; only after a full pass is committed."""
        self._files.seal(self.corpus_pass.seal())

    def bottleneck(self) -> str:
        """Name what holds the run up at this moment; a server at work does not."""
        if self._is_opening:
            return "the embedding server to start"
        if self._to_upsert.is_full:
            return "Milvus"
        silent = time.monotonic() - self._last_answer
        is_held_up = self._num_at_servers and silent >= _SILENT_SECONDS
        return "the embedding server" if is_held_up else ""

    def stop(self) -> bool:
        """Read no further; say whether anything is on its way, which will be finished."""
        self._stopping.set()
        return self._is_embedding

    async def run(self, open_embedder: Callable[[], Awaitable[Embedder]]) -> None:
        """Index the corpus.

        Args:
            open_embedder: Called once there is something to embed, and not at all in a night that
                changed nothing. Reading and cutting go on meanwhile, as far as channels allow.
        """
        self.phases.enter("reading")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_and_cut())
                group.create_task(self._embed_all(open_embedder))
                group.create_task(self._upsert_all())
                group.create_task(self._commit_all())
        except BaseException:
            # The thread that reads would go on to the next row that needs work.
            self._stopping.set()
            raise
        if self.is_complete:
            await asyncio.to_thread(self._dead_letters.recall, self.corpus_pass.are_met)

    async def _read_and_cut(self) -> None:
        pieces = until_stopped(self._pieces())
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            if isinstance(piece, ChunkBatch):
                await self._to_embed.put(piece)
            elif isinstance(piece, EmbeddedBatch):
                await self._to_upsert.put(piece)
            else:
                await self._to_commit.put(piece)
        await self._to_embed.close()

    async def _embed_all(self, open_embedder: Callable[[], Awaitable[Embedder]]) -> None:
        if await self._to_embed.wait_for_first():
            self._is_opening = True
            self.phases.enter("starting")
            embedder = await open_embedder()
            self._is_opening, self._is_embedding = False, True
            self.phases.enter("server_idle")
            async with asyncio.TaskGroup() as group:
                for _ in range(self._limits.max_requests_in_flight):
                    group.create_task(self._embed(embedder))
        self.phases.enter("finishing")
        await self._to_upsert.close()

    async def _embed(self, embedder: Embedder) -> None:
        async for batch in self._to_embed:
            with self._at_servers():
                result = await embed_or_isolate(batch, embedder=embedder, dimension=self._dimension)
            self._tally.count_embedded(result.embedded.chunks)
            for refused in result.refused:
                self._dead_letters.record([refused.letter()])
                for whole in self._open.refuse(refused.chunk):
                    await self._to_commit.put(whole)
            if result.embedded.chunks:
                await self._to_upsert.put(result.embedded)

    @contextmanager
    def _at_servers(self) -> Iterator[None]:
        if not self._num_at_servers:
            self.phases.enter("embedding")
            self._last_answer = time.monotonic()
        self._num_at_servers += 1
        yield
        self._last_answer = time.monotonic()
        self._num_at_servers -= 1
        if not self._num_at_servers:
            self.phases.enter("server_idle")

    async def _upsert_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._limits.num_upserters):
                group.create_task(self._upsert())
        await self._to_commit.close()

    async def _upsert(self) -> None:
        while batches := await self._to_upsert.take(until=_fills_an_upsert):
            merged = merge_batches(batches)
            await asyncio.to_thread(self._store.upsert, self._version, merged)
            for whole in self._open.settle(merged.chunks):
                await self._to_commit.put(whole)

    async def _commit_all(self) -> None:
        while whole := await self._to_commit.take(
            until=lambda taken: len(taken) >= _COMMITS_PER_TRANSACTION
        ):
            await asyncio.to_thread(self._commit, whole)

    def _pieces(self) -> Iterator[ChunkBatch | EmbeddedBatch | OpenDocument]:
        """Yield what must be embedded, what only must be written again, or not even that."""
        packer = TokenPacker(max_tokens=self._limits.batch_tokens, max_chunks=_MAX_CHUNKS_PER_BATCH)
        for rows in read_until_stopped(self._source.read(self._files), self._stopping):
            for piece in self._prepare(rows):
                if self._stopping.is_set():
                    return
                if not isinstance(piece, Chunk):
                    yield piece
                elif batch := packer.add(piece):
                    yield batch
            if self._stopping.is_set():
                return
        if batch := packer.flush():
            yield batch

    def _prepare(self, rows: RowBatch) -> Iterator[Chunk | EmbeddedBatch | OpenDocument]:
        self._dead_letters.record(rows.dead_letters)
        self.corpus_pass.keep([x.doc_id for x in rows.dead_letters if x.doc_id is not None])
        self.corpus_pass.keep(rows.ids_left_out)
        documents = self._sort_out(rows)
        vectors = self._find_vectors(documents)
        self._begin(documents, with_vectors=vectors.keys())
        for document in documents:
            if not document.chunks:
                yield document
                continue
            self._open.add(document)
            chunks, document.chunks = document.chunks, ()
            known = [chunk for chunk in chunks if chunk.chunk_id in vectors]
            self._tally.count_reused(known)
            yield from batch_reused(known, vectors)
            yield from (chunk for chunk in chunks if chunk.chunk_id not in vectors)

    def _sort_out(self, rows: RowBatch) -> list[OpenDocument]:
        """Compare rows with the ledger; return the documents that need work, cut into chunks."""
        self.text_bytes += int(rows.texts.num_bytes.sum())
        differences = self.corpus_pass.compare(rows)
        repeated = [
            difference.place for difference in differences if difference.change == "duplicate"
        ]
        tally = self._tally
        # An id that is its text's hash says that the text is the same, too: nothing is lost.
        lost = [place for place in repeated if rows.doc_ids[place] != rows.doc_hashes[place]]
        self._dead_letters.record(duplicate_letter(rows, place) for place in lost)
        tally.num_repeated += len(repeated) - len(lost)
        num_unchanged = len(rows) - len(differences)
        num_files = sum(letter.source.is_file for letter in rows.dead_letters)
        num_refused = len(rows.dead_letters) - num_files
        tally.num_files_skipped += num_files
        tally.num_documents_read += len(rows) + num_refused
        tally.num_unchanged += num_unchanged
        tally.num_documents_done += num_unchanged + num_refused + len(repeated)
        to_write = [difference for difference in differences if difference.change != "duplicate"]
        written = [rows.document(difference.place) for difference in to_write]
        # Cutting takes memory of its own, and a text may be large.
        rows.texts.release()
        stored = (
            self._earlier_cuts.find(
                (document, difference.entry)
                for document, difference in zip(written, to_write, strict=True)
                if difference.change == "refresh"
            )
            if self._earlier_cuts
            else {}
        )
        cut = cut_documents(written, splitter=self._splitter, known=stored)
        documents = [
            open_document(document, chunks, difference=difference)
            for document, chunks, difference in zip(written, cut, to_write, strict=True)
        ]
        for document in documents:
            # Other metadata are no reason to try a dead chunk again. A refresh that was begun, as
            # a retry does, is one.
            if document.change == "refresh" and document.entry.carried_hash is not None:
                document.give_up(self._ledger.dead_chunks(document.document.doc_id))
        return documents

    def _begin(self, documents: Sequence[OpenDocument], *, with_vectors: Collection[str]) -> None:
        """Write down durably what is about to happen, before the first chunk is sent."""
        for document in documents:
            if document.change == "refresh" and any(
                chunk.chunk_id not in with_vectors for chunk in document.chunks
            ):
                document.change = "changed"
        refreshed = [d.document.doc_id for d in documents if d.change == "refresh"]
        written = [(d.document.doc_id, d.num_chunks) for d in documents if d.change != "refresh"]
        if refreshed:
            self._ledger.begin_refresh(refreshed)
        if written:
            self._ledger.begin(written)

    def _commit(self, documents: Sequence[OpenDocument]) -> None:
        """Delete orphans, then tell the ledger: what it says to be there is there, and no more."""
        superfluous = [id_ for document in documents for id_ in document.superfluous_chunk_ids()]
        if superfluous:
            self._store.delete_chunks(self._version, superfluous)
        written = [x.committed() for x in documents if x.change != "refresh"]
        refreshed = [x.refreshed() for x in documents if x.change == "refresh"]
        if written:
            self._ledger.commit(written, run=self._run)
        if refreshed:
            self._ledger.commit_refresh(refreshed, run=self._run)
        tally = self._tally
        good = [document for document in documents if not document.refused]
        tally.num_new += sum(document.change == "new" for document in good)
        tally.num_changed += sum(document.change == "changed" for document in good)
        tally.num_refreshed += len(refreshed)
        tally.num_documents_done += len(documents)


def _fills_an_upsert(batches: list[EmbeddedBatch]) -> bool:
    return sum(len(batch.chunks) for batch in batches) >= _ROWS_PER_UPSERT
