"""Vectors cut to a smaller dimension, as a server that is asked for it would."""

from collections.abc import Sequence

import numpy as np

from embed_index.pipeline.embedding.wire import UnusableVectorError, normalise
from embed_index.schemas.contract import CANARY_DIMENSION, Canary
from embed_index.schemas.records import Vectors


class UncuttableVectorError(ValueError):
    """What is left of a vector has no length, or holds NaN or infinity."""

    def __init__(self, message: str, *, places: Sequence[int]) -> None:
        super().__init__(message)
        self.places = tuple(places)
        """Of the rows."""


def cut_vectors(vectors: Vectors, dimension: int) -> Vectors:
    """Cut rows to their first components, then bring them to unit length.

    Rows that have the width already are returned as they are, to the last bit.

    Args:
        vectors: Shape (number of rows, at least `dimension`), float32.
        dimension: Width of the result.

    Raises:
        UncuttableVectorError: What is left of a row has no length, or holds NaN or infinity.
    """
    if vectors.shape[1] == dimension:
        return vectors
    try:
        return normalise(np.ascontiguousarray(vectors[:, :dimension]))
    except UnusableVectorError as error:
        raise UncuttableVectorError(str(error), places=error.places) from error


def cut_canary(canary: Canary, dimension: int) -> Canary:
    """Return the canary of a collection of a smaller dimension.

    Its vector is cut to at most `CANARY_DIMENSION` already, and cutting twice is cutting once.
    """
    return Canary.from_vector(canary.text, canary.to_vector()[: min(dimension, CANARY_DIMENSION)])
