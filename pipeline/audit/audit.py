"""One audit: rows, corpus, ledger and a sample of vectors compared, nothing changed."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from embed_index.pipeline.audit.comparison import Recorded, compare_document
from embed_index.pipeline.audit.duplicates import find_duplicates
from embed_index.pipeline.audit.notes import AuditNotes
from embed_index.pipeline.corpus.source import RowBatch, Source
from embed_index.pipeline.embedding.canaries import MIN_COSINE
from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerEntry
from embed_index.pipeline.ledger.letters import OpenDeadLetters
from embed_index.pipeline.milvus.images import (
    RowImage,
    image_of_chunk,
    image_of_stored,
    is_ours,
)
from embed_index.pipeline.milvus.reader import CollectionReader
from embed_index.pipeline.model.splitter import TextSplitter
from embed_index.pipeline.stages.earlier_cuts import cut_as_stored
from embed_index.pipeline.stages.isolation import embed_or_isolate
from embed_index.pipeline.stages.open_documents import cut_documents, join_hashes
from embed_index.pipeline.stages.packing import TokenPacker
from embed_index.pipeline.stages.reuse import is_unit
from embed_index.pipeline.stages.stopping import StoppableSplitter, stoppable, until_stopped
from embed_index.schemas.audit_findings import AuditReport, Finding
from embed_index.schemas.records import Chunk, ChunkBatch, Document, Vectors

_MAX_CHUNKS_PER_BATCH = 512
_ENTRIES_PER_STEP = 1024
_CONTENT_KINDS = frozenset({"missing", "stale", "altered"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSample:
    """How many vectors are made again, and by what."""

    num_chunks: int
    dimension: int
    batch_tokens: int
    open_embedder: Callable[[], Awaitable[Embedder]]
    """Called once the first chunk is to be embedded, and not at all without a sample."""
    min_cosine: float = MIN_COSINE
    """From which a vector counts as the stored one."""


class AuditPass:
    """Reads everything once; memory does not grow with the corpus or the collection.

    Nobody may write to the version meanwhile: call it with the run lock held.
    """

    def __init__(
        self,
        *,
        collection: str,
        version: str,
        source: Source,
        splitter: TextSplitter,
        reader: CollectionReader,
        documents: DocumentLedger | None,
        letters: OpenDeadLetters | None,
        notes: AuditNotes,
        sample: AuditSample,
        keeps_departed: bool,
        has_earlier_cuts: bool = False,
    ) -> None:
        """Prepare an audit.

        Args:
            collection: What users call it.
            version: The collection version.
            source: The corpus.
            splitter: Cuts as the version's contract says.
            reader: Of the collection.
            documents: The ledger's documents of the version; None where it does not know it.
            letters: The ledger's dead letters; None where there is no ledger.
            notes: Empty; hold afterwards what a repair needs.
            sample: The vectors to compare.
            keeps_departed: Whether documents that the ledger knows are to stay when the corpus
                no longer has them.
            has_earlier_cuts: Whether documents may be cut by older rules than the splitter's: then
                rows that cover the text are right, wherever they part it.
        """
        self._collection = collection
        self._version = version
        self._source = source
        self._stopping = threading.Event()
        self._splitter = StoppableSplitter(splitter, self._stopping)
        self._reader = reader
        self._documents = documents
        self._letters = letters
        self._notes = notes
        self._sample = sample
        self._keeps_departed = keeps_departed
        self._has_earlier_cuts = has_earlier_cuts
        self._num_retained = 0
        self._num_documents = 0
        self._num_chunks = 0
        self._num_sampled = 0

    async def run(self) -> AuditReport:
        """Compare everything.

        Raises:
            UnavailableError: Milvus, the embedding server or the disk cannot be used.
            ConfigurationError: A file of the corpus is damaged.
        """
        num_rows = await asyncio.to_thread(self._read_rows)
        embedder: Embedder | None = None
        batches = until_stopped(self._compare())
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            embedder = embedder or await self._sample.open_embedder()
            await self._compare_vectors(batch, embedder=embedder)
        await asyncio.to_thread(self._find_departed)
        return AuditReport(
            collection=self._collection,
            version=self._version,
            num_documents=self._num_documents,
            num_chunks=self._num_chunks,
            num_rows=num_rows,
            num_sampled=self._num_sampled,
            num_dead_letters=0 if self._letters is None else self._letters.count(self._version),
            num_retained=self._num_retained,
            drift=self._notes.drift(),
        )

    def stop(self) -> None:
        """Have the thread that reads end soon; whoever waits for the audit is cancelled."""
        self._stopping.set()

    def _read_rows(self) -> int:
        """Note rows and dead letters, find what needs no corpus; return the number of rows."""
        notes = self._notes
        if self._letters is not None:
            letters = (known.letter for known in self._letters.open(self._version))
            notes.take_refused(x.doc_id for x in letters if x.doc_id and x.stage != "read")
        rows = stoppable(self._reader.iter_chunks(self._version, with_text=True), self._stopping)
        notes.take_rows((image_of_stored(row), not is_ours(row.key)) for row in rows)
        notes.choose_sample(self._sample.num_chunks)
        for key, doc_id in notes.foreign():
            notes.add(Finding("foreign", doc_id, key))
            notes.add_superfluous([key])
        num_rows = self._reader.count(self._version)
        duplicates = set(notes.met_twice())
        if num_rows > notes.num_keys():
            duplicates.update(find_duplicates(notes, reader=self._reader, version=self._version))
        for key in sorted(duplicates):
            notes.add(Finding("duplicate", notes.owner(key), key))
        return num_rows

    def _compare(self) -> Iterator[ChunkBatch]:
        """Compare the corpus, document by document; yield what the sample has of it."""
        packer = TokenPacker(max_tokens=self._sample.batch_tokens, max_chunks=_MAX_CHUNKS_PER_BATCH)
        for rows in stoppable(self._source.read(), self._stopping):
            for chunk in self._compare_rows(rows):
                if batch := packer.add(chunk):
                    yield batch
        if batch := packer.flush():
            yield batch

    def _compare_rows(self, rows: RowBatch) -> Iterator[Chunk]:
        notes = self._notes
        notes.keep(letter.doc_id for letter in rows.dead_letters if letter.doc_id is not None)
        notes.keep(rows.ids_left_out)
        is_first = notes.meet(rows.doc_ids)
        documents = [rows.document(place) for place, first in enumerate(is_first) if first]
        doc_ids = [document.doc_id for document in documents]
        stored = notes.rows_of(doc_ids)
        refused = notes.refused(doc_ids)
        cut = cut_documents(
            documents, splitter=self._splitter, known=self._earlier_cuts(documents, stored)
        )
        for document, entry, chunks in zip(documents, self._entries(doc_ids), cut, strict=True):
            findings = list(
                compare_document(
                    document,
                    wanted=[image_of_chunk(chunk) for chunk in chunks],
                    stored=stored.get(document.doc_id, ()),
                    recorded=self._recorded(document, entry, refused),
                    chunk_hashes=join_hashes(chunks),
                )
            )
            for finding in findings:
                notes.add(finding)
                if finding.kind == "orphaned" and finding.chunk_id is not None:
                    notes.add_superfluous([finding.chunk_id])
            self._num_documents += 1
            self._num_chunks += len(chunks)
            yield from self._sampled(chunks, findings)

    def _earlier_cuts(
        self, documents: Sequence[Document], stored: Mapping[str, Sequence[RowImage]]
    ) -> dict[str, tuple[Chunk, ...]]:
        """Return the chunks of documents that rows cover as older rules cut them."""
        if not self._has_earlier_cuts:
            return {}
        cut = {
            document.doc_id: cut_as_stored(
                document, stored.get(document.doc_id, ()), splitter=self._splitter
            )
            for document in documents
        }
        return {doc_id: chunks for doc_id, chunks in cut.items() if chunks is not None}

    def _entries(self, doc_ids: Sequence[str]) -> Sequence[LedgerEntry | None]:
        return [None] * len(doc_ids) if self._documents is None else self._documents.lookup(doc_ids)

    def _recorded(
        self, document: Document, entry: LedgerEntry | None, refused: set[str]
    ) -> Recorded:
        hashes: list[bytes] = []
        dead: frozenset[int] = frozenset()
        is_refused = document.doc_id in refused
        if entry is not None and self._documents is not None:
            hashes = self._documents.chunk_hashes(document.doc_id)
            dead = self._documents.dead_chunks(document.doc_id) if is_refused else dead
        return Recorded(entry, b"".join(hashes), is_refused, dead)

    def _sampled(self, chunks: Sequence[Chunk], findings: Sequence[Finding]) -> Iterator[Chunk]:
        if not self._sample.num_chunks:
            return
        bad = {finding.chunk_id for finding in findings if finding.kind in _CONTENT_KINDS}
        sampled = self._notes.sampled([chunk.chunk_id for chunk in chunks])
        yield from (x for x in chunks if x.chunk_id in sampled and x.chunk_id not in bad)

    async def _compare_vectors(self, batch: ChunkBatch, *, embedder: Embedder) -> None:
        result = await embed_or_isolate(batch, embedder=embedder, dimension=self._sample.dimension)
        chunks = result.embedded.chunks
        stored = await asyncio.to_thread(
            self._reader.fetch_vectors, self._version, [chunk.chunk_id for chunk in chunks]
        )
        self._num_sampled += len(chunks)
        for chunk, vector in zip(chunks, result.embedded.vectors, strict=True):
            there = stored.get(chunk.chunk_id)
            if there is None or not self._is_same(there, vector):
                self._notes.add(Finding("vector", chunk.document.doc_id, chunk.chunk_id))

    def _is_same(self, stored: Vectors, made: Vectors) -> bool:
        return is_unit(stored) and float(np.dot(stored, made)) >= self._sample.min_cosine

    def _find_departed(self) -> None:
        """Find rows and ledger entries of documents that the corpus does not have."""
        notes = self._notes
        notes.note_departed()
        known = () if self._documents is None else self._documents.entries()
        entries = stoppable(known, self._stopping)
        while step := list(islice(entries, _ENTRIES_PER_STEP)):
            for doc_id in notes.note_recorded(notes.unmet([entry.doc_id for entry in step])):
                notes.add(Finding("misrecorded", doc_id))
        for key, doc_id in notes.departed_rows(recorded_too=not self._keeps_departed):
            notes.add(Finding("orphaned", doc_id, key))
        if self._keeps_departed:
            self._num_retained = notes.num_departed_recorded()
