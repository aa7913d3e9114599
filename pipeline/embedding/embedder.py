"""The seam behind which vectors are made: one server, several, or whatever comes next."""

from collections.abc import Sequence
from typing import Protocol

from embed_index.schemas.records import TokenIds, Vectors

UNKNOWN = "unknown"
"""Stands for what a server does not say."""


class RequestRefusedError(Exception):
    """One of the inputs of a request cannot be embedded; the others may well be."""

    def __init__(self, reason: str, *, detail: str, places: Sequence[int] = ()) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        """A stable short code."""
        self.detail = detail
        """In words, without the input."""
        self.places = tuple(places)
        """Which of the inputs seem to be at fault, where that is known; empty otherwise."""


class Embedder(Protocol):
    """What turns token ids into vectors; called by many tasks at once."""

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        """Return unit vectors in the inputs' order, float32, shape (inputs, dimension).

        Raises:
            RequestRefusedError: An input cannot be embedded; the caller proves which, alone.
            ServerError: Nothing can be embedded any more.
        """
