"""Counting a corpus, whole and by samples, on texts in several languages."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_index.pipeline.corpus.parquet import ParquetSource
from embed_index.pipeline.model.splitter import TextSplitter
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.pipeline.planning.counting import Count, count_work
from embed_index.pipeline.planning.sampling import SampleSize

NUM_DOCUMENTS = 5_000


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory, sample_corpus: Path) -> Path:
    """Pieces of the sample corpus, of 8 characters to 20,000, each language by itself."""
    texts = [
        text for file in sorted(sample_corpus.glob("*.parquet"))
        for text in pq.read_table(file)["text"].to_pylist() if text
    ]  # fmt: skip
    everything = "\n\n".join(texts)
    drawn = np.random.default_rng(5)
    sizes = np.clip(drawn.lognormal(5.0, 1.7, NUM_DOCUMENTS), 8, 20_000).astype(int)
    starts = np.sort(drawn.integers(0, len(everything) - 20_000, NUM_DOCUMENTS))
    pieces = [
        f"{number} {everything[start : start + size]}"
        for number, (start, size) in enumerate(zip(starts.tolist(), sizes.tolist(), strict=True))
    ]
    path = tmp_path_factory.mktemp("skewed") / "corpus.parquet"
    ids = [f"document-{number}" for number in range(NUM_DOCUMENTS)]
    pq.write_table(pa.table({"id": ids, "text": pieces}), path)
    return path


def count(path: Path, tokenizer: ModelTokenizer, **more: object) -> Count:
    source = ParquetSource([str(path)], id_column="id", text_columns=("text",))
    splitter = TextSplitter(tokenizer, max_tokens=256)
    return count_work(source, splitter=splitter, documents=None, **more)  # type: ignore[arg-type]


def test_one_percent_is_within_its_error_in_twenty_draws(
    skewed: Path, tokenizer: ModelTokenizer
) -> None:
    exact = count(skewed, tokenizer)
    within = []
    for seed in range(20):
        drawn = count(skewed, tokenizer, sample=SampleSize(share=0.01), seed=seed)
        assert drawn.documents == exact.documents
        assert (drawn.work.num_sampled or 0) < NUM_DOCUMENTS / 2
        for name in ("tokens", "chunks"):
            estimate, truth = getattr(drawn.work, name), getattr(exact.work, name).value
            assert 0 < estimate.error < 0.1 * truth
            within.append(abs(estimate.value - truth) <= estimate.error)

    assert within == [True] * 40


def test_the_histogram_and_the_sums_are_of_the_same_chunks(
    skewed: Path, tokenizer: ModelTokenizer
) -> None:
    splitter = TextSplitter(tokenizer, max_tokens=256)
    texts = pq.read_table(skewed)["text"].to_pylist()
    lengths, num_chunks = splitter.chunk_lengths(texts)

    work = count(skewed, tokenizer).work

    assert work.chunks.value == num_chunks.sum()
    assert work.tokens.value == lengths.sum()
    assert work.workload.sum_of_squares == (lengths**2).sum()
    assert sum(work.histogram()) == num_chunks.sum()
    assert work.histogram()[3] == ((lengths > 64) & (lengths <= 128)).sum()
