"""A sample of a corpus, cut as a run would cut it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from embed_index.jobs.adapters.inputs import JobInputs
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import Document, TokenIds

MIN_CHUNKS = 20
"""With fewer, ten neighbours are half of all there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Chunks of documents that stand at equal distances in the corpus."""

    chunks: tuple[TokenIds, ...]
    num_documents: int
    num_tokens: int
    """Of all chunks of these documents, kept or not."""
    num_corpus_documents: int

    @property
    def corpus_tokens(self) -> float:
        """About so many tokens has the whole corpus."""
        return self.num_tokens / self.num_documents * self.num_corpus_documents


def draw_sample(inputs: JobInputs, *, num_chunks: int) -> Sample:
    """Cut some documents, as many as are needed, spread evenly over the corpus.

    Raises:
        ConfigurationError: The corpus is too small to say anything.
    """
    num_rows = inputs.source.num_rows
    step = max(1, num_rows // num_chunks)
    per_document = max(1, -(-num_chunks // max(1, num_rows)))
    chunks: list[TokenIds] = []
    num_documents = num_tokens = 0
    for document in islice(_documents(inputs), 0, None, step):
        spans = [
            span.token_ids for span in inputs.splitter.split(document.text, about=document.about)
        ]
        if not spans:
            continue
        num_documents += 1
        num_tokens += sum(span.size for span in spans)
        # Another part of each document: beginnings are like one another.
        first = num_documents % len(spans)
        chunks += (spans[first:] + spans[:first])[:per_document]
        if len(chunks) >= num_chunks:
            break
    if len(chunks) < MIN_CHUNKS:
        raise ConfigurationError(
            f"sample: {counted(len(chunks), 'chunk')} is too little to compare precisions",
            remedy=f"Take a corpus with at least {MIN_CHUNKS} documents, or a larger --sample.",
        )
    return Sample(
        chunks=tuple(chunks[:num_chunks]),
        num_documents=num_documents,
        num_tokens=num_tokens,
        num_corpus_documents=num_rows,
    )


def read_queries(file: Path) -> list[str]:
    """Return the queries of a file, one a line; empty lines are none.

    Raises:
        ConfigurationError: It holds none, or no text.
    """
    try:
        queries = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"queries: {file} cannot be read as UTF-8 text ({type(error).__name__})",
            remedy="Give a file with one query a line.",
        ) from error
    if not any(queries):
        raise ConfigurationError(
            f"queries: {file} holds none", remedy="Give a file with one query a line."
        )
    return [query for query in queries if query]


def _documents(inputs: JobInputs) -> Iterator[Document]:
    for batch in inputs.source.read():
        for place in range(len(batch)):
            yield batch.document(place)
