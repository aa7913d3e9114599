"""How far two sets of vectors of the same texts agree. Arithmetic alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embed_index.schemas.records import Vectors

NUM_NEIGHBOURS = 10
_ROWS_PER_STEP = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosines:
    """Of each text's two vectors."""

    smallest: float
    one_percent: float
    """So many in a hundred are below it."""
    median: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What two searches for the same thing have in common."""

    mean: float
    """Share of the nearest that both find, 0 to 1."""
    one_percent: float
    """So many searches in a hundred share less."""
    same_first: float
    """Share of the searches whose first hit is the same, 0 to 1."""


def compare_vectors(first: Vectors, second: Vectors) -> Cosines:
    """Compare unit vectors of shape (texts, dimension), row by row."""
    cosines = np.einsum("ij,ij->i", first, second, dtype=np.float64)
    smallest, one_percent, median = np.quantile(cosines, (0.0, 0.01, 0.5))
    return Cosines(smallest=float(smallest), one_percent=float(one_percent), median=float(median))


def compare_searches(
    first: tuple[Vectors, Vectors], second: tuple[Vectors, Vectors], *, among_themselves: bool
) -> Overlap:
    """Search in each of two sets and compare what is found.

    Args:
        first: What is searched for and what in, unit vectors of shape (rows, dimension).
        second: The same texts, made another way.
        among_themselves: Whether both are the same texts, of which none is to find itself.
    """
    num_searches = len(first[0])
    width = min(NUM_NEIGHBOURS, len(first[1]) - among_themselves)
    shared, same_first = np.empty(num_searches), np.empty(num_searches, dtype=bool)
    for start in range(0, num_searches, _ROWS_PER_STEP):
        one, other = (
            _nearest(searched, pool, start=start, width=width, spare_own=among_themselves)
            for searched, pool in (first, second)
        )
        step = slice(start, start + len(one))
        shared[step] = (one[:, :, None] == other[:, None, :]).any(axis=2).mean(axis=1)
        same_first[step] = one[:, 0] == other[:, 0]
    return Overlap(
        mean=float(shared.mean()),
        one_percent=float(np.quantile(shared, 0.01)),
        same_first=float(same_first.mean()),
    )


def _nearest(
    searched: Vectors, pool: Vectors, *, start: int, width: int, spare_own: bool
) -> NDArray[np.intp]:
    """Return the places of the nearest rows of a pool, the nearest first."""
    scores = searched[start : start + _ROWS_PER_STEP] @ pool.T
    rows = np.arange(len(scores))
    if spare_own:
        scores[rows, start + rows] = -np.inf
    nearest = np.argpartition(-scores, width - 1, axis=1)[:, :width]
    order = np.argsort(-np.take_along_axis(scores, nearest, axis=1), axis=1, kind="stable")
    return np.take_along_axis(nearest, order, axis=1)
