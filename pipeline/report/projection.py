"""Vectors of many dimensions laid out in two, by principal components."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embed_index.schemas.records import Vectors

_EXTRA = 8
_PASSES = 16
"""Enough for the two first of a slowly falling spectrum, as embeddings have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Where each vector lies in the plane."""

    places: NDArray[np.float32]
    """Shape (number of vectors, 2), around the mean of all."""
    kept_share: float
    """Of the variance, what both axes show; from 0 to 1."""


def project(vectors: Vectors) -> Projection:
    """Project onto the two first principal components.

    They are found by subspace iteration: time grows with the vectors and their width alone. Equal
    vectors give equal places, whichever run they are from.

    Args:
        vectors: Shape (number of vectors, dimension); any number of them.
    """
    num, width = vectors.shape
    if not num:
        return Projection(places=np.zeros((0, 2), np.float32), kept_share=0.0)
    centred = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    total = float(np.einsum("ij,ij->", centred, centred, dtype=np.float64))
    if total <= np.finfo(np.float32).eps * num:
        return Projection(places=np.zeros((num, 2), np.float32), kept_share=0.0)
    start = np.random.default_rng(0).standard_normal((width, min(2 + _EXTRA, width)))
    basis = np.linalg.qr(start)[0].astype(np.float32)
    for _ in range(_PASSES):
        basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
    _, _, rotation = np.linalg.svd(centred @ basis, full_matrices=False)
    axes = (basis @ rotation[:2].T).T
    # The sign of an axis is anybody's choice: the largest part of it points up, every night.
    largest = np.abs(axes).argmax(axis=1)
    axes *= np.sign(axes[np.arange(len(axes)), largest])[:, None]
    places = np.zeros((num, 2), np.float32)
    places[:, : len(axes)] = centred @ axes.T
    kept = float(np.einsum("ij,ij->", places, places, dtype=np.float64)) / total
    return Projection(places=places, kept_share=min(kept, 1.0))
