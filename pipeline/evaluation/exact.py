"""Exact search over a stream of vectors, at several widths at once, in bounded memory.

A Matryoshka model's vector, cut and normalised, is its vector at the smaller width. So one set of
full-width vectors tells what every cut of it finds.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.schemas.records import Vectors

ROWS_PER_STEP = 2_048
NUM_NEAREST = 10
_QUERIES_PER_STEP = 512
_SAME_SCORE = 1e-5
"""Cosines of one pair differ by as much between two ways of adding it up in float32."""

Scores = NDArray[np.float32]


def cut(vectors: Vectors, *, dimension: int) -> Vectors:
    """Cut vectors of shape (rows, width) and give them unit length again."""
    shorter = vectors[:, :dimension]
    lengths = np.linalg.norm(shorter, axis=1, keepdims=True)
    unit: Vectors = np.divide(shorter, lengths, out=np.zeros_like(shorter), where=lengths > 0)
    return unit


class ExactSearch:
    """Ranks documents by their best chunk, for many queries at several widths.

    What is held is as large as the answer, whatever the number of rows.
    """

    def __init__(self, queries: Vectors, *, dimensions: Sequence[int], depth: int) -> None:
        """Begin.

        Args:
            queries: Unit vectors of shape (queries, width).
            dimensions: At which queries and rows are compared; the first one's chunks are kept
                for `share_found`.
            depth: Documents wanted for each query.
        """
        self._queries = {size: cut(queries, dimension=size) for size in dimensions}
        self._best: dict[int, list[dict[str, float]]] = {
            size: [{} for _ in range(len(queries))] for size in dimensions
        }
        self._bars = {size: np.full(len(queries), -np.inf, dtype=np.float32) for size in dimensions}
        self._depth = depth
        self._widest = dimensions[0]
        self._nearest = np.full((len(queries), NUM_NEAREST), -np.inf, dtype=np.float32)
        self.num_rows = 0

    def read(self, chunks: Iterable[StoredChunk]) -> None:
        """Search in chunks that come with their vectors."""
        doc_ids: list[str] = []
        rows: list[Vectors] = []
        for chunk in chunks:
            assert chunk.vector is not None
            doc_ids.append(chunk.doc_id)
            rows.append(chunk.vector)
            if len(rows) == ROWS_PER_STEP:
                self.add(doc_ids, np.stack(rows))
                doc_ids, rows = [], []
        if rows:
            self.add(doc_ids, np.stack(rows))

    def add(self, doc_ids: Sequence[str], vectors: Vectors) -> None:
        """Search in some rows.

        Args:
            doc_ids: Whose chunks they are.
            vectors: Shape (rows, width).
        """
        self.num_rows += len(doc_ids)
        places: dict[str, int] = {}
        owners = np.asarray([places.setdefault(doc_id, len(places)) for doc_id in doc_ids])
        order = np.argsort(owners, kind="stable")
        starts = np.searchsorted(owners[order], np.arange(len(places)))
        names = list(places)
        for size, queries in self._queries.items():
            rows = cut(vectors, dimension=size)[order]
            for first in range(0, len(queries), _QUERIES_PER_STEP):
                scores = queries[first : first + _QUERIES_PER_STEP] @ rows.T
                if size == self._widest:
                    self._keep_nearest(first, scores)
                self._keep_documents(
                    size, first, np.maximum.reduceat(scores, starts, axis=1), names
                )

    def rankings(self, dimension: int) -> list[tuple[str, ...]]:
        """Return the documents that each query finds at a width, the best first."""
        return [tuple(_best_first(found)) for found in self._best[dimension]]

    def share_found(self, scores: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        """Return the share of each query's ten nearest chunks that another search found.

        A chunk as near as the tenth counts as one of them, for nothing tells the two apart.

        Args:
            scores: Cosines of the chunks that it found, for each query.
        """
        shares = []
        for nearest, found in zip(self._nearest, scores, strict=True):
            true = nearest[np.isfinite(nearest)]
            if not len(true):
                shares.append(1.0)
                continue
            num_found = sum(score >= true[-1] - _SAME_SCORE for score in found[: len(true)])
            shares.append(num_found / len(true))
        return np.asarray(shares)

    def _keep_nearest(self, first: int, scores: Scores) -> None:
        known = self._nearest[first : first + len(scores)]
        both = np.concatenate([known, scores], axis=1)
        known[:] = -np.sort(-np.partition(both, -NUM_NEAREST, axis=1)[:, -NUM_NEAREST:], axis=1)

    def _keep_documents(self, size: int, first: int, scores: Scores, names: Sequence[str]) -> None:
        """Take documents of a step among the best; a later chunk may bring back one left out."""
        bars = self._bars[size]
        num_kept = min(self._depth, scores.shape[1])
        best = np.argpartition(-scores, num_kept - 1, axis=1)[:, :num_kept]
        values = np.take_along_axis(scores, best, axis=1)
        is_better = values >= bars[first : first + len(scores), None]
        for row in np.flatnonzero(is_better.any(axis=1)):
            found = self._best[size][first + row]
            for column in np.flatnonzero(is_better[row]):
                name, value = names[best[row, column]], float(values[row, column])
                found[name] = max(value, found.get(name, -np.inf))
            if len(found) > self._depth:
                for name in _best_first(found)[self._depth :]:
                    del found[name]
            if len(found) == self._depth:
                bars[first + row] = min(found.values())


def _best_first(found: dict[str, float]) -> list[str]:
    """Return documents by their scores; of equal ones the first by name, whatever came first."""
    return sorted(found, key=lambda name: (-found[name], name))
