"""The flow by itself: a failure ends it, whatever the other stages are at."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from embed_index.pipeline.corpus.conversion import RowConversion
from embed_index.pipeline.corpus.source import FileMemory, RowBatch, RowPlaces, Source
from embed_index.pipeline.indexing import FlowLimits, Indexing
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.model.spans import Tokenizer
from embed_index.pipeline.model.splitter import TextSplitter
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.pipeline.stages.dead_letters import DeadLetterFile
from embed_index.pipeline.stages.store import Store
from embed_index.pipeline.stages.tally import DeadLetterBox, RunTally
from embed_index.schemas.errors import StoreError
from embed_index.schemas.records import EmbeddedBatch, SourceRow, TokenIds, Vectors

DIMENSION = 32


class EndlessSource:
    """Documents that fill a batch, and then nothing that needs work, without an end."""

    def read(self, _memory: FileMemory | None = None, /) -> Iterator[RowBatch]:
        yield rows(range(10))
        while True:
            yield rows(range(0))


class LargeDocument:
    """One document of about a thousand chunks."""

    def read(self, _memory: FileMemory | None = None, /) -> Iterator[RowBatch]:
        yield rows(range(1), times=3000)


def rows(numbers: range, *, times: int = 1) -> RowBatch:
    texts = [
        f"Document {n} speaks of pumps, printers and coffee machines. " * times for n in numbers
    ]
    columns = {"id": [f"d{n}" for n in numbers], "text": texts}
    schema = pa.schema({"id": pa.string(), "text": pa.string()})
    conversion = RowConversion(carried_columns=())
    first = SourceRow(path="a.parquet", row_group=0, row=0)
    return conversion.convert(
        pa.RecordBatch.from_pydict(columns, schema), RowPlaces.of_spans([(first, len(numbers))])
    )


class BrokenStore:
    def upsert(self, version: str, batch: EmbeddedBatch) -> int:
        raise StoreError("Milvus is gone")

    def delete_chunks(self, version: str, chunk_ids: Sequence[str]) -> None:
        raise AssertionError("nothing is to be deleted")


class UnitEmbedder:
    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        return np.eye(len(token_ids), dimension, dtype=np.float32)


class SilentEmbedder(UnitEmbedder):
    """Answers no more after some batches until it is let."""

    def __init__(self, *, num_answers: int) -> None:
        self.num_answers = num_answers
        self.is_silent = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        if not self.num_answers:
            self.is_silent.set()
            await self.goes_on.wait()
        self.num_answers = max(0, self.num_answers - 1)
        return await super().embed(token_ids, dimension=dimension)


class StoppingTokenizer:
    """Stops the run at the tenth text, as a signal would."""

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        self._tokenizer = tokenizer
        self.end_token_id = tokenizer.end_token_id
        self.num_texts = 0
        self.stop: Callable[[], bool]

    def encode(self, text: str) -> TokenIds:
        self.num_texts += 1
        if self.num_texts == 10:
            self.stop()
        return self._tokenizer.encode(text)

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return self._tokenizer.count(texts)

    def encode_all(self, texts: Sequence[str]) -> list[TokenIds]:
        return [self.encode(text) for text in texts]

    def token_byte_lengths(self, ids: TokenIds) -> TokenIds:
        return self._tokenizer.token_byte_lengths(ids)


class WatchfulTokenizer(StoppingTokenizer):
    """Notes at each text what Arrow holds."""

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        super().__init__(tokenizer)
        self.stop = lambda: False
        self.arrow_bytes: list[int] = []

    def encode(self, text: str) -> TokenIds:
        self.arrow_bytes.append(pa.total_allocated_bytes())
        return super().encode(text)


class PatientStore(BrokenStore):
    def upsert(self, version: str, batch: EmbeddedBatch) -> int:
        return len(batch.chunks)


async def open_embedder() -> UnitEmbedder:
    return UnitEmbedder()


@contextmanager
def indexing_of(
    source: Source, *, tokenizer: Tokenizer, folder: Path, store: Store | None = None
) -> Iterator[Indexing]:
    tally = RunTally()
    with (
        Ledger(folder / "docs.ledger") as ledger,
        DeadLetterFile(folder / "letters", run="1") as file,
    ):
        run = ledger.runs.start("docs_v1").id
        yield Indexing(
            source=source,
            splitter=TextSplitter(tokenizer, max_tokens=64, overlap_tokens=0, prompt=""),
            store=store or BrokenStore(),
            find_vectors=lambda _: {},
            version="docs_v1",
            dimension=DIMENSION,
            ledger=ledger.documents("docs_v1", collection_id="first"),
            run=run,
            dead_letters=DeadLetterBox(
                file, ledger=ledger.dead_letters, version="docs_v1", run=run, tally=tally
            ),
            tally=tally,
            limits=FlowLimits(batch_tokens=64, max_requests_in_flight=1, num_upserters=1),
        )


@pytest.mark.timeout(60)
def test_a_failure_ends_the_reading_too(tmp_path: Path, tokenizer: ModelTokenizer) -> None:
    with (
        indexing_of(EndlessSource(), tokenizer=tokenizer, folder=tmp_path) as indexing,
        pytest.raises(ExceptionGroup) as failed,
    ):
        asyncio.run(indexing.run(open_embedder))

    assert failed.group_contains(StoreError, match="Milvus is gone")
    assert not indexing.is_complete


@pytest.mark.timeout(60)
def test_a_large_document_is_not_cut_to_its_end_once_the_run_stops(
    tmp_path: Path, tokenizer: ModelTokenizer
) -> None:
    stopping = StoppingTokenizer(tokenizer)
    with indexing_of(LargeDocument(), tokenizer=stopping, folder=tmp_path) as indexing:
        stopping.stop = indexing.stop
        asyncio.run(indexing.run(open_embedder))

    assert stopping.num_texts < 20
    assert not indexing.is_complete


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("silent_seconds", "named"), [(0.0, "the embedding server"), (1e9, "")])
async def test_a_server_holds_a_run_up_only_while_it_does_not_answer(
    silent_seconds: float,
    named: str,
    tmp_path: Path,
    tokenizer: ModelTokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("embed_index.pipeline.indexing._SILENT_SECONDS", silent_seconds)
    embedder = SilentEmbedder(num_answers=3)

    async def open_embedder() -> SilentEmbedder:
        return embedder

    with indexing_of(
        LargeDocument(), tokenizer=tokenizer, folder=tmp_path, store=PatientStore()
    ) as indexing:
        run = asyncio.create_task(indexing.run(open_embedder))
        await embedder.is_silent.wait()
        async with indexing._to_embed._changed:
            await indexing._to_embed._changed.wait_for(lambda: indexing._to_embed.is_full)
        waits_for = indexing.bottleneck()
        embedder.goes_on.set()
        await run

    assert waits_for == named
    assert indexing.bottleneck() == ""


def test_a_large_text_is_not_held_twice_while_it_is_cut(
    tmp_path: Path, tokenizer: ModelTokenizer
) -> None:
    watchful = WatchfulTokenizer(tokenizer)
    before = pa.total_allocated_bytes()

    with indexing_of(
        LargeDocument(), tokenizer=watchful, folder=tmp_path, store=PatientStore()
    ) as indexing:
        asyncio.run(indexing.run(open_embedder))

    assert len(watchful.arrow_bytes) > 1000
    assert max(watchful.arrow_bytes) - before < 10_000, "the column that it came from is kept"
