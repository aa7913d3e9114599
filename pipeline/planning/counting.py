"""A corpus read, compared and cut as a run would do it, to count what there is to do."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.corpus.source import RowBatch, Source
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import CHUNK_HASH_BYTES, LedgerEntry
from embed_index.pipeline.model.splitter import TextSplitter
from embed_index.pipeline.planning.curve import Curve
from embed_index.pipeline.planning.sampling import (
    DocumentSample,
    Estimate,
    SampleResult,
    SampleSize,
)
from embed_index.pipeline.planning.workload import BIN_ENDS, Workload, bins_of
from embed_index.pipeline.stages.comparison import Change, Difference
from embed_index.pipeline.stages.look import CorpusLook, is_unknown
from embed_index.pipeline.stages.open_documents import cut_documents, join_hashes

Figures = NDArray[np.float64]
"""Of a document, in the order of `_NAMES`, then of the histogram's bins."""

_NAMES = ("chunks", "tokens", "squares", "kept_chunks", "kept_tokens", "all_chunks")
_WIDTH = len(_NAMES) + len(BIN_ENDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentCounts:
    """The rows of the corpus by what a run would do with them; always of all that was read."""

    num_read: int
    """Bad rows included."""
    num_new: int
    num_changed: int
    num_refreshed: int
    """Of the same text with other metadata."""
    num_unchanged: int
    num_repeated: int
    """With `id_from = "text"`: of a text that came before, whose row stands for both."""
    num_duplicate_ids: int
    """Of an id that came before; would be dead letters, as the next two."""
    num_unusable: int
    num_files_skipped: int
    num_missing: int | None
    """In the ledger and not in the corpus; None where the corpus was not read to its end."""
    num_missing_chunks: int
    num_documents_known: int
    """That the ledger would have once all is read: the missing ones, and what is to be added."""
    text_bytes: int
    """Of all usable texts."""
    other_bytes: int
    """Of their ids and carried values."""
    text_bytes_to_cut: int
    """Of new and changed documents, and of those that a prefix column may have changed."""

    @property
    def num_dead_letters(self) -> int:
        """As far as they show before anything is embedded."""
        return self.num_unusable + self.num_duplicate_ids + self.num_files_skipped


class Work:
    """What is to be embedded, counted or estimated."""

    def __init__(self, counted: Figures | SampleResult) -> None:
        """Wrap sums over all documents, or a sample of them."""
        self._counted = counted

    @property
    def num_sampled(self) -> int | None:
        """Documents that were looked into; None for all."""
        return self._counted.num_documents if isinstance(self._counted, SampleResult) else None

    @property
    def workload(self) -> Workload:
        """What is embedded."""
        return Workload(
            num_chunks=self.chunks.value,
            num_tokens=self.tokens.value,
            sum_of_squares=self._total(squares=1).value,
        )

    @property
    def chunks(self) -> Estimate:
        """Chunks to embed."""
        return self._total(chunks=1)

    @property
    def tokens(self) -> Estimate:
        """Tokens to embed."""
        return self._total(tokens=1)

    @property
    def kept_chunks(self) -> Estimate:
        """Chunks of changed documents whose text is the same, so that their vectors are kept."""
        return self._total(kept_chunks=1)

    @property
    def kept_tokens(self) -> Estimate:
        """Tokens of these."""
        return self._total(kept_tokens=1)

    @property
    def all_chunks(self) -> Estimate:
        """Chunks of new and changed documents, embedded or kept."""
        return self._total(all_chunks=1)

    def gpu_seconds(self, curve: Curve) -> Estimate:
        """Return how long one GPU computes."""
        return self._total(chunks=curve.per_chunk, tokens=curve.per_token, squares=curve.per_square)

    def histogram(self) -> list[float]:
        """Return how many chunks to embed there are in each bin."""
        totals = []
        for place in range(len(_NAMES), _WIDTH):
            weights = np.zeros(_WIDTH)
            weights[place] = 1.0
            totals.append(self._weighted(weights).value)
        return totals

    def _total(self, **weights: float) -> Estimate:
        vector = np.zeros(_WIDTH)
        for name, weight in weights.items():
            vector[_NAMES.index(name)] = weight
        return self._weighted(vector)

    def _weighted(self, weights: Figures) -> Estimate:
        if isinstance(self._counted, SampleResult):
            return self._counted.total(weights=weights)
        return Estimate(value=float(self._counted @ weights))


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What a look at a corpus found."""

    documents: DocumentCounts
    work: Work
    replaced_chunks: int
    """That changed documents have now, by the ledger."""
    refreshed_chunks: int


def count_work(
    source: Source,
    *,
    splitter: TextSplitter,
    documents: DocumentLedger | None,
    sample: SampleSize | None = None,
    seed: int = 0,
    is_whole: bool = True,
) -> Count:
    """Read a corpus and count what a run would do; nothing is written.

    All rows are read and compared with the ledger, whatever the sample: only cutting, which takes
    most of the time, is left to it.

    Args:
        source: The corpus, or its beginning.
        splitter: Cuts as the run would.
        documents: Of the version that the run would write to; None where there is none.
        sample: How many documents are cut; None for all that are to be embedded.
        seed: Chooses another sample.
        is_whole: Whether all of the corpus is read, so that it is known what is missing.
    """
    counting = _Counting(splitter=splitter, documents=documents, sample=sample, seed=seed)
    for rows in source.read():
        counting.take(rows)
    return counting.result(is_whole=is_whole)


class _Counting:
    """The counts as they grow."""

    def __init__(
        self,
        *,
        splitter: TextSplitter,
        documents: DocumentLedger | None,
        sample: SampleSize | None,
        seed: int,
    ) -> None:
        self._splitter = splitter
        self._documents = documents
        self._sample = None if sample is None else DocumentSample(sample)
        self._sums = np.zeros(_WIDTH)
        self._look = CorpusLook(documents, seed=hashlib.sha256(b"plan %d" % seed).digest())
        self._changes: Counter[Change] = Counter()
        self._num_good = self._num_unusable = self._num_files_skipped = 0
        self._num_duplicate_ids = self._num_to_register = 0
        self._text_bytes = self._text_bytes_to_cut = self._other_bytes = 0
        self._replaced_chunks = self._refreshed_chunks = 0

    def take(self, rows: RowBatch) -> None:
        """Count a batch."""
        num_files = sum(letter.source.is_file for letter in rows.dead_letters)
        self._num_files_skipped += num_files
        self._num_unusable += len(rows.dead_letters) - num_files
        self._look.keep([x.doc_id for x in rows.dead_letters if x.doc_id is not None])
        self._look.keep(rows.ids_left_out)
        differences = self._look.compare(rows)
        num_bytes = rows.texts.num_bytes
        self._num_good += len(rows)
        self._text_bytes += int(num_bytes.sum())
        self._other_bytes += int(rows.ids.num_bytes.sum()) + rows.carried_rows.num_bytes
        self._changes.update(difference.change for difference in differences)
        # As in a run: an id that is its text's hash says that the text is the same, too.
        self._num_duplicate_ids += sum(
            rows.doc_ids[x.place] != rows.doc_hashes[x.place] for x in _of(differences, "duplicate")
        )
        self._num_to_register += sum(is_unknown(x.entry) for x in _of(differences, "new"))
        self._refreshed_chunks += sum(_num_chunks(x.entry) for x in _of(differences, "refresh"))
        self._replaced_chunks += sum(_num_chunks(x.entry) for x in _of(differences, "changed"))
        to_cut = [*_of(differences, "new"), *_of(differences, "changed")]
        if rows.prefix_places:
            # Other metadata may be what the model sees before every chunk.
            to_cut += _of(differences, "refresh")
        places = np.array([difference.place for difference in to_cut], dtype=np.int64)
        self._text_bytes_to_cut += int(num_bytes[places].sum())
        if self._sample is None:
            if to_cut:
                self._sums += self._figures(rows, to_cut).sum(axis=0)
            return
        chosen = self._sample.choose(self._look.keys(rows)[places], num_bytes[places])
        if chosen:
            self._sample.add(self._figures(rows, [to_cut[place] for place in chosen]))

    def result(self, *, is_whole: bool) -> Count:
        """Return the counts once all was read."""
        # What stands in a skipped file was not met, and yet is not gone.
        is_whole = is_whole and not self._num_files_skipped
        missing = list(map(_num_chunks, self._look.missing())) if is_whole else None
        changes = self._changes
        return Count(
            documents=DocumentCounts(
                num_read=self._num_good + self._num_unusable,
                num_new=changes["new"],
                num_changed=changes["changed"],
                num_refreshed=changes["refresh"],
                num_unchanged=self._num_good - changes.total(),
                num_repeated=changes["duplicate"] - self._num_duplicate_ids,
                num_duplicate_ids=self._num_duplicate_ids,
                num_unusable=self._num_unusable,
                num_files_skipped=self._num_files_skipped,
                num_missing=None if missing is None else len(missing),
                num_missing_chunks=sum(missing or ()),
                num_documents_known=self._num_to_register
                + (0 if self._documents is None else self._documents.num_documents()),
                text_bytes=self._text_bytes,
                other_bytes=self._other_bytes,
                text_bytes_to_cut=self._text_bytes_to_cut,
            ),
            work=Work(self._sums if self._sample is None else self._sample.result()),
            replaced_chunks=self._replaced_chunks,
            refreshed_chunks=self._refreshed_chunks,
        )

    def _figures(self, rows: RowBatch, to_cut: Sequence[Difference]) -> Figures:
        """Cut documents and count, a row each, in their order."""
        # What an interrupted run left behind is embedded anew, as a run does.
        is_compared = [x.change != "new" and x.entry.doc_hash is not None for x in to_cut]
        figures = np.zeros((len(to_cut), _WIDTH))
        compared = np.flatnonzero(is_compared)
        for place in compared.tolist():
            figures[place] = self._changed_figures(rows, to_cut[place])
        others = [x.place for x, is_other in zip(to_cut, is_compared, strict=True) if not is_other]
        if others:
            texts = [_text(rows, place) for place in others]
            about = [rows.about(place) for place in others]
            figures[np.setdiff1d(np.arange(len(to_cut)), compared)] = _figures_of(
                *self._splitter.chunk_lengths(texts, about=about)
            )
        return figures

    def _changed_figures(self, rows: RowBatch, difference: Difference) -> Figures:
        assert self._documents is not None
        document = rows.document(difference.place)
        (chunks,) = cut_documents([document], splitter=self._splitter)
        known = set(self._documents.chunk_hashes(difference.entry.doc_id))
        hashes, size = join_hashes(chunks), CHUNK_HASH_BYTES
        is_kept = np.array(
            [hashes[index * size : (index + 1) * size] in known for index in range(len(chunks))],
            dtype=np.bool_,
        )
        lengths = np.array([chunk.num_tokens for chunk in chunks], dtype=np.int64)
        figures: Figures = _figures_of(lengths[~is_kept], np.array([(~is_kept).sum()]))[0]
        kept = lengths[is_kept]
        figures[3:6] = kept.size, kept.sum(), lengths.size
        return figures


def _figures_of(lengths: NDArray[np.int64], num_chunks: NDArray[np.int64]) -> Figures:
    """Return a row a document from the lengths of all their chunks, none of which is kept."""
    count, num_bins = num_chunks.size, len(BIN_ENDS)
    owners = np.repeat(np.arange(count), num_chunks)
    tokens = lengths.astype(np.float64)
    bins = np.bincount(owners * num_bins + bins_of(lengths), minlength=count * num_bins)
    none = np.zeros(count)
    sums = (
        num_chunks,
        np.bincount(owners, weights=tokens, minlength=count),
        np.bincount(owners, weights=tokens**2, minlength=count),
        *(none, none, num_chunks),
    )
    columns = np.column_stack([*sums, bins.reshape(count, num_bins)])
    return columns.astype(np.float64)


def _of(differences: Sequence[Difference], change: Change) -> list[Difference]:
    return [difference for difference in differences if difference.change == change]


def _text(rows: RowBatch, place: int) -> str:
    text = rows.texts[place]
    assert isinstance(text, str)
    return text


def _num_chunks(entry: LedgerEntry) -> int:
    """Return how many of the chunks that the ledger counts are a document's."""
    return 0 if entry.doc_hash is None else entry.num_chunks
