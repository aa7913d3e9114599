"""One chunk of a text: how far it can reach, and where before that it ends."""

import itertools
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.model.boundaries import Cut, Span, best_cut
from embed_index.pipeline.model.cutting import Cutting
from embed_index.pipeline.model.headings import lead_begin
from embed_index.pipeline.model.normal_forms import normalised
from embed_index.schemas.records import ChunkSpan, TokenIds

_SURELY_FITS = 0.7
"""A block of fewer characters than this share of the chunk before it is not measured."""
_MAX_DENSITY = 4
"""How many times as many characters for a token a block may have as the chunk before it."""
_CLOSE_CHARS = 8
"""A block's own tokens may be a few more than in the text around it."""
_PATIENCE = 3
"""How often a chunk that is too long gives way by what was too much, before it gives way faster."""


class Tokenizer(Protocol):
    """What chunking needs of a tokenizer."""

    end_token_id: int

    def encode(self, text: str) -> TokenIds:
        """Return the ids of a text, without an end token."""

    def encode_all(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return the ids of each text, as `encode` does."""

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return how many ids each text has, without an end token."""

    def token_byte_lengths(self, ids: TokenIds) -> TokenIds:
        """Return how many UTF-8 bytes of normalised text each id stands for."""


class SpanFinder:
    """Finds the chunk that begins at a place, of at most so many ids without the end token."""

    def __init__(self, tokenizer: Tokenizer, *, max_ids: int, prompt: str) -> None:
        self._tokenizer = tokenizer
        self._max_ids = max_ids
        self._prompt = prompt
        self._end = np.array([tokenizer.end_token_id], dtype=np.int32)

    def next(self, cutting: Cutting, start: int) -> ChunkSpan:
        """Return the span that begins at `start`."""
        text = cutting.text
        limit, ids_of_rest = self._find_limit(cutting, start)
        # The next chunk's first guess. The characters that this chunk has for a token would mislead
        # where a few tokens of white space precede what did not fit.
        cutting.reach = limit - start
        for attempt in itertools.count():
            if ids_of_rest is not None:
                cut, ids = Cut(limit, "end"), ids_of_rest
                break
            cut = Cut(limit, "end") if limit == len(text) else self._cut(cutting, start, limit)
            ids = self._encode(cutting, start, cut.end)
            if ids.size <= self._max_ids:
                break
            # Cutting can split what was one token, and the limit of a text that is not normalised
            # is an estimate: give way by about what was too much.
            num_chars = cut.end - start
            excess = math.ceil((ids.size - self._max_ids) * 0.9 * num_chars / ids.size)
            if attempt >= _PATIENCE:
                # The last characters have fewer tokens than most.
                excess = max(excess, min(excess << (attempt - _PATIENCE + 1), num_chars // 2))
            limit = max(start + 1, cut.end - excess)
        return self.span(start, cut, ids, prefix=cutting.prefixes.at(start))

    def span(self, start: int, cut: Cut, ids: TokenIds, *, prefix: str) -> ChunkSpan:
        """Return the span from `start` to a cut, of ids that have no end token yet."""
        return ChunkSpan(
            char_start=start,
            char_end=cut.end,
            token_ids=np.concatenate((ids, self._end)),
            boundary=cut.boundary,
            prefix=prefix,
        )

    def _cut(self, cutting: Cutting, start: int, limit: int) -> Cut:
        """Return where a chunk ends that may reach up to `limit`."""
        window = cutting.window(start, limit)
        blocks = cutting.blocks(window, start, limit)
        room = limit - start
        for begin, end in blocks:
            if 0 < begin < room and (end is None or end > room) and window[:begin].strip():
                whole = self._before_block(cutting, window, start=start, begin=begin, end=end)
                if whole is not None:
                    return Cut(start + whole, "block")
        kept = [Span(begin, end) for begin, end in blocks if end is not None and end <= room]
        edges = [begin for begin, end in blocks if end is None or end > room]
        kept += [Span(begin, begin) for begin in edges if 0 < begin <= room]
        cut = best_cut(window, room, kept=kept)
        return Cut(start + cut.end, cut.boundary)

    def _before_block(
        self, cutting: Cutting, window: str, *, start: int, begin: int, end: int | None
    ) -> int | None:
        """Return where to cut before a block, with what leads to it; None if it never fits."""
        behind = None if end is None else start + end
        for density in (1, _MAX_DENSITY):
            behind = behind or cutting.block_end(start + begin, density * (cutting.reach + 1))
        if behind is None:
            return None
        lead = lead_begin(window, begin, lowest=1)
        for first in (lead, begin) if 0 < lead < begin and window[:lead].strip() else (begin,):
            if self._fits(cutting, start + first, behind):
                return first
        return None

    def _fits(self, cutting: Cutting, begin: int, end: int) -> bool:
        """Tell whether a chunk can reach from one place to another."""
        num_chars = end - begin
        if num_chars <= _SURELY_FITS * cutting.reach:
            # Where it does not after all, the next chunk begins with it and parts it.
            return True
        if num_chars > _MAX_DENSITY * cutting.reach:
            return False
        horizon, _ = self._find_limit(cutting, begin)
        if horizon - end >= _CLOSE_CHARS:
            return True
        return horizon >= end and self._encode(cutting, begin, end).size <= self._max_ids

    def _encode(self, cutting: Cutting, begin: int, end: int) -> TokenIds:
        """Return the ids of a chunk, without an end token."""
        text = cutting.prefixes.at(begin) + cutting.text[begin:end]
        return self._tokenizer.encode(self._prompt + text)

    def _find_limit(self, cutting: Cutting, start: int) -> tuple[int, TokenIds | None]:
        """Return about the largest end at which a chunk still fits.

        Where all of the rest fits, its ids come with it.
        """
        if (known := cutting.limits.get(start)) is not None:
            return known
        text, num_chars = cutting.text, window_chars(cutting.reach)
        limit, ids_of_rest = len(text), None
        while True:
            window = text[start : start + num_chars]
            ids = self._encode(cutting, start, start + num_chars)
            if ids.size > self._max_ids:
                limit = start + self._chars_within(window, ids)
                break
            if start + num_chars >= len(text):
                ids_of_rest = ids
                break
            num_chars *= 2
        cutting.limits = {start: (limit, ids_of_rest)}
        return limit, ids_of_rest

    def _chars_within(self, window: str, ids: TokenIds) -> int:
        """Count the characters that the window's first `max_ids` tokens cover, at least one."""
        # The ids stand for every byte, and those that are too many are fewer than the others.
        beyond = self._tokenizer.token_byte_lengths(ids[self._max_ids :])
        num_bytes_beyond = int(np.add.reduce(beyond, dtype=np.int64))
        if window.isascii():
            return max(1, len(window) - num_bytes_beyond)
        # Tokens cover the normalised text; where that is another one, this is an estimate, which
        # encoding the chunk itself then corrects.
        written = normalised(window, "NFC")
        raw = written.encode("utf-8")
        covered = raw[: max(0, len(raw) - num_bytes_beyond)].decode("utf-8", errors="ignore")
        kept = len(covered) * len(window) // len(written)
        return max(1, min(kept, len(window)))


def window_chars(reach: int) -> int:
    """Return how much text is encoded at first, to see where so many characters end."""
    return int(reach * 1.25) + 16
