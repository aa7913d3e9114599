"""What the model sees before the text of a chunk: what the document is about, and where in it.

    the prefix columns' values, a line each
    the headings above the chunk, from the outermost, with ` > ` between them
    (a blank line)

Both lines may be missing. It is no part of the chunk's text, but counts in its tokens.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from embed_index.pipeline.model.heading_path import HeadingPaths
from embed_index.pipeline.model.normal_forms import normalised
from embed_index.schemas.records import TokenIds

_BETWEEN_TITLES = " > "


class PrefixTokenizer(Protocol):
    """What prefixes need of a tokenizer."""

    def encode(self, text: str) -> TokenIds:
        """Return the ids of a text, without an end token."""

    def token_byte_lengths(self, ids: TokenIds) -> TokenIds:
        """Return how many UTF-8 bytes of normalised text each id stands for."""


class PrefixRules:
    """How much may stand before a chunk's text, and whether headings do."""

    def __init__(self, tokenizer: PrefixTokenizer, *, max_tokens: int, with_headings: bool) -> None:
        """Prepare.

        Args:
            tokenizer: The model's.
            max_tokens: Of the columns' values, and again of the headings. Of longer values the
                beginning is seen, of more headings the innermost.
            with_headings: Whether the headings above a chunk are seen.
        """
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self.with_headings = with_headings

    def first(self, about: str) -> str:
        """Return what stands before the first chunk of a document; no heading is above it."""
        return _lines(self._beginning(about))

    def of(self, text: str, about: str) -> "Prefixes":
        """Return what stands before the chunks of a document.

        Args:
            text: Its text.
            about: The values of its prefix columns.
        """
        headings = HeadingPaths(text) if self.with_headings else None
        return Prefixes(self, self._beginning(about), headings)

    def innermost(self, titles: Sequence[str]) -> str:
        """Return as many titles as there is room for, without the outermost of too many."""
        for first in range(len(titles)):
            path = _BETWEEN_TITLES.join(titles[first:])
            if self._fits(path):
                return path
        return ""

    def _beginning(self, about: str) -> str:
        if not about or self._fits(about):
            return about
        kept = self._tokenizer.encode(about)[: self._max_tokens]
        num_bytes = int(np.add.reduce(self._tokenizer.token_byte_lengths(kept), dtype=np.int64))
        raw = normalised(about, "NFC").encode("utf-8")[:num_bytes]
        return raw.decode("utf-8", errors="ignore").rstrip()

    def _fits(self, line: str) -> bool:
        # A token stands for a byte at least.
        if line.isascii() and len(line) <= self._max_tokens:
            return True
        return self._tokenizer.encode(line).size <= self._max_tokens


class Prefixes:
    """What stands before each chunk of one document."""

    def __init__(self, rules: PrefixRules, about: str, headings: HeadingPaths | None) -> None:
        self._rules = rules
        self._about = about
        self._headings = headings
        self._known: dict[tuple[str, ...], str] = {(): _lines(about)}

    def at(self, begin: int) -> str:
        """Return what stands before the chunk that begins at a place."""
        titles = () if self._headings is None else self._headings.at(begin)
        known = self._known.get(titles)
        if known is None:
            known = _lines(self._about, self._rules.innermost(titles))
            # Neighbours share it, and chunks far away hardly do.
            self._known = {(): self._known[()], titles: known}
        return known


def _lines(*lines: str) -> str:
    told = [line for line in lines if line]
    return "\n".join(told) + "\n\n" if told else ""
