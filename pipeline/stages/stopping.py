"""Cutting that ends where a run stops: a large document outlasts any grace period."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from embed_index.pipeline.model.splitter import Splitter
from embed_index.schemas.errors import UnavailableError
from embed_index.schemas.records import ChunkSpan

Piece = TypeVar("Piece")


class _StoppedError(Exception):
    """Nothing more is to be cut."""


class StoppableSplitter:
    """Leaves a text unfinished when the run stops; part of it never passes for all."""

    def __init__(self, splitter: Splitter, stopping: threading.Event) -> None:
        self._splitter = splitter
        self._stopping = stopping
        self.max_tokens = splitter.max_tokens

    def split(self, text: str, *, about: str = "") -> Iterator[ChunkSpan]:
        """Yield the spans of a text in order; within `until_stopped`, which a stop ends."""
        return stoppable(self._splitter.split(text, about=about), self._stopping)

    def split_all(
        self, texts: Sequence[str], *, about: Sequence[str] = ()
    ) -> Iterator[Iterator[ChunkSpan]]:
        """Yield for each text in order what `split` yields."""
        for spans in self._splitter.split_all(texts, about=about):
            yield stoppable(spans, self._stopping)

    def restore(
        self, text: str, places: Sequence[tuple[int, int]], *, about: str = ""
    ) -> Iterator[ChunkSpan]:
        """Yield the spans of a text that was cut before; within `until_stopped`, too."""
        return stoppable(self._splitter.restore(text, places, about=about), self._stopping)


def stoppable(pieces: Iterable[Piece], stopping: threading.Event) -> Iterator[Piece]:
    """Yield pieces up to a stop; what was made of some of them never passes for all."""
    for piece in pieces:
        if stopping.is_set():
            raise _StoppedError
        yield piece


def until_stopped(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield what is made of texts that a stoppable splitter cuts, until it is stopped."""
    with suppress(_StoppedError):
        yield from pieces


def read_until_stopped(rows: Iterator[Piece], stopping: threading.Event) -> Iterator[Piece]:
    """Yield what a source reads; a store that stays away is no error once the run stops."""
    try:
        yield from rows
    except UnavailableError:
        if not stopping.is_set():
            raise
