"""The flow by itself: a failure ends it, whatever the other stages are at."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from embed_index.pipeline.corpus.source import RowBatch
from embed_index.pipeline.corpus.text_column import TextColumn
from embed_index.pipeline.indexing import FlowLimits, Indexing
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.model.splitter import TextSplitter
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.pipeline.stages.dead_letters import DeadLetterFile
from embed_index.pipeline.stages.tally import DeadLetterBox, RunTally
from embed_index.schemas.errors import StoreError
from embed_index.schemas.ids import text_hash
from embed_index.schemas.records import EmbeddedBatch, TokenIds, Vectors

DIMENSION = 32


class EndlessSource:
    """Documents that fill a batch, and then nothing that needs work, without an end."""

    def read(self) -> Iterator[RowBatch]:
        yield rows(range(10))
        while True:
            yield rows(range(0))


def rows(numbers: range) -> RowBatch:
    texts = [f"Document {n} speaks of pumps, printers and coffee machines." for n in numbers]
    return RowBatch(
        path="a.parquet",
        row_group=0,
        rows=numbers,
        doc_ids=[f"d{n}" for n in numbers],
        texts=TextColumn(pa.array(texts, pa.string())),
        carried=[() for _ in numbers],
        doc_hashes=[text_hash(text) for text in texts],
        dead_letters=(),
    )


class BrokenStore:
    def upsert(self, version: str, batch: EmbeddedBatch) -> int:
        raise StoreError("Milvus is gone")

    def delete_chunks(self, version: str, chunk_ids: Sequence[str]) -> None:
        raise AssertionError("nothing is to be deleted")


class UnitEmbedder:
    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        return np.eye(len(token_ids), dimension, dtype=np.float32)


@pytest.mark.timeout(60)
def test_a_failure_ends_the_reading_too(tmp_path: Path, tokenizer: ModelTokenizer) -> None:
    tally = RunTally()
    with (
        Ledger(tmp_path / "docs.ledger") as ledger,
        DeadLetterFile(tmp_path / "letters", run="1") as file,
    ):
        run = ledger.runs.start("docs_v1").id
        indexing = Indexing(
            source=EndlessSource(),
            splitter=TextSplitter(tokenizer, max_tokens=64, overlap_tokens=0, prompt=""),
            store=BrokenStore(),
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

        async def open_embedder() -> UnitEmbedder:
            return UnitEmbedder()

        with pytest.raises(ExceptionGroup) as failed:
            asyncio.run(indexing.run(open_embedder))

    assert failed.group_contains(StoreError, match="Milvus is gone")
    assert not indexing.is_complete
