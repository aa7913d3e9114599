"""Token-exact chunks of a text, with character offsets and boundary preference.

A chunk's ids are the tokens of its own text, as the model would see that text sent alone, never a
slice of a longer tokenisation: whoever embeds the stored text again gets the same vector.
"""

import bisect
import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import ChunkSpan, TokenIds

BOUNDARY_TOLERANCE = 0.25
"""How much of a full chunk may stay unused so that the cut falls on a better boundary."""

MIN_TEXT_TOKENS = 16
"""A character takes at most 12 tokens: U+1D160 normalises to three code points of four bytes."""

_MAX_CHARS_PER_TOKEN = 8.0
_LOOKAHEAD_CHARS = 24

# Cuts are sought from the strongest to the weakest; each expression ends where a chunk may end.
_HEADING = re.compile(
    r"\n(?=#{1,6} |(?:Chapter|Section|Part|Appendix) \S|第[0-9一二三四五六七八九十百]+[章节節])"
)
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n(?=[^\r\n])")
_SENTENCE_END = re.compile(
    r"[.!?…؟۔।]['\"”’)\]]*\s+(?=\S)|[。！？][”’」』）]*\s*(?=\S)|\n(?=[^\r\n])"
)
_WHITE_SPACE = re.compile(r"\s+(?=\S)")
_BOUNDARIES = (_HEADING, _BLANK_LINE, _SENTENCE_END, _WHITE_SPACE)


class Tokenizer(Protocol):
    """What chunking needs of a tokenizer."""

    end_token_id: int

    def encode(self, text: str) -> TokenIds:
        """Return the ids of a text, without an end token."""

    def token_byte_lengths(self, ids: TokenIds) -> TokenIds:
        """Return how many UTF-8 bytes of normalised text each id stands for."""


class TextSplitter:
    """Splits texts into spans of at most `max_tokens` tokens, instruction and end included."""

    def __init__(
        self, tokenizer: Tokenizer, *, max_tokens: int, overlap_tokens: int = 0, prompt: str = ""
    ) -> None:
        """Prepare a splitter.

        Args:
            tokenizer: The model's tokenizer.
            max_tokens: Everything the model sees of one chunk: prompt, text, end token.
            overlap_tokens: How many tokens of text a chunk repeats of the one before, at most.
            prompt: Put before the text of every chunk.

        Raises:
            ConfigurationError: The prompt leaves no room for text, or the overlap none to advance.
        """
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._prompt_bytes = len(unicodedata.normalize("NFC", prompt).encode("utf-8"))
        self._max_ids = max_tokens - 1
        self._overlap_tokens = overlap_tokens
        self._chars_per_token = 4.0
        num_prompt_tokens = tokenizer.encode(prompt).size if prompt else 0
        room = self._max_ids - num_prompt_tokens
        if room < MIN_TEXT_TOKENS:
            least = num_prompt_tokens + 1 + MIN_TEXT_TOKENS
            raise ConfigurationError(
                f"max_tokens: {max_tokens} leaves no room for text beside the document instruction"
                f" ({num_prompt_tokens} tokens) and the end token",
                remedy=f"Set max_tokens to {least} or more, or shorten document_instruction.",
            )
        if overlap_tokens > room // 2:
            raise ConfigurationError(
                f"overlap_tokens: {overlap_tokens} is more than half of the {room} tokens of text"
                " in a chunk",
                remedy=f"Set overlap_tokens to {room // 2} or less.",
            )

    def split(self, text: str) -> Iterator[ChunkSpan]:
        """Yield the spans of a text in order.

        Without overlap they concatenate to the text exactly. No span is empty, none is longer than
        `max_tokens`, and a cut never falls between a character and its combining marks where a
        shorter chunk avoids it. An empty text has no spans.
        """
        start = end = 0
        while end < len(text):
            span = self._next_span(text, start)
            if span.char_end <= end:
                # The overlap left no room to get ahead; dense scripts in small chunks do that.
                span = self._next_span(text, end)
            yield span
            end = span.char_end
            start = self._overlap_start(text, span)

    def _next_span(self, text: str, start: int) -> ChunkSpan:
        limit = self._find_limit(text, start)
        while True:
            end = limit if limit == len(text) else _best_cut(text, start, limit)
            ids = self._encode(text[start:end])
            if ids.size <= self._max_ids:
                self._chars_per_token = max(1.0, (end - start) / max(1, ids.size))
                return ChunkSpan(
                    char_start=start,
                    char_end=end,
                    token_ids=np.append(ids, np.int32(self._tokenizer.end_token_id)),
                )
            # Cutting can split what was one token, and the limit of a text that is not normalised
            # is an estimate: give way by about what was too much.
            excess = math.ceil((ids.size - self._max_ids) * 0.9 * (end - start) / ids.size)
            limit = max(start + 1, end - excess)

    def _encode(self, text: str) -> TokenIds:
        return self._tokenizer.encode(self._prompt + text)

    def _find_limit(self, text: str, start: int) -> int:
        """Return about the largest end at which the chunk still fits."""
        num_chars = (
            int(self._max_ids * min(self._chars_per_token, _MAX_CHARS_PER_TOKEN) * 1.25) + 16
        )
        while True:
            window = text[start : start + num_chars]
            ids = self._encode(window)
            if ids.size > self._max_ids:
                return start + self._chars_within(window, ids)
            if start + num_chars >= len(text):
                return len(text)
            num_chars *= 2

    def _chars_within(self, window: str, ids: TokenIds) -> int:
        """Count the characters that the window's first `max_ids` tokens cover, at least one."""
        lengths = self._tokenizer.token_byte_lengths(ids[: self._max_ids])
        num_bytes = int(lengths.sum()) - self._prompt_bytes
        # Tokens cover the normalised text; where that is another one, this is an estimate, which
        # encoding the chunk itself then corrects.
        normalised = unicodedata.normalize("NFC", window)
        covered = normalised.encode("utf-8")[: max(0, num_bytes)].decode("utf-8", errors="ignore")
        kept = len(covered) * len(window) // len(normalised)
        return max(1, min(kept, len(window)))

    def _overlap_start(self, text: str, span: ChunkSpan) -> int:
        if not self._overlap_tokens:
            return span.char_end
        # The end token stands for no text.
        tail = span.token_ids[-1 - self._overlap_tokens : -1]
        num_bytes = int(self._tokenizer.token_byte_lengths(tail).sum())
        covered = text[span.char_start : span.char_end].encode("utf-8")[-num_bytes:]
        earliest = span.char_end - len(covered.decode("utf-8", errors="ignore"))
        earliest = max(earliest, span.char_start + 1)
        for boundary in (_SENTENCE_END, _WHITE_SPACE):
            match = boundary.search(text, earliest, span.char_end)
            if match and match.end() < span.char_end:
                return match.end()
        return _whole_character(text, earliest, span.char_end, span.char_end)


def _best_cut(text: str, start: int, limit: int) -> int:
    """Return the best place to end a chunk that may reach up to `limit`."""
    earliest = max(start + 1, limit - int((limit - start) * BOUNDARY_TOLERANCE))
    for boundary in _BOUNDARIES:
        # What follows a cut decides whether it is one, so a little past the limit is seen too.
        cuts = [m.end() for m in boundary.finditer(text, earliest - 1, limit + _LOOKAHEAD_CHARS)]
        at = bisect.bisect_right(cuts, limit)
        if at and cuts[at - 1] >= earliest:
            return cuts[at - 1]
    for position in range(limit, earliest - 1, -1):
        if not _joins(text, position):
            return position
    return limit


def _whole_character(text: str, earliest: int, latest: int, fallback: int) -> int:
    for position in range(earliest, latest):
        if not _joins(text, position):
            return position
    return fallback


def _joins(text: str, position: int) -> bool:
    """Tell whether the characters around a position are seen as one."""
    if position >= len(text):
        return False
    before, after = text[position - 1], text[position]
    return (
        unicodedata.combining(after) != 0
        or after in "\u200d\ufe0e\ufe0f\u20e3"
        or before == "\u200d"
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or (before == "\r" and after == "\n")
        or all("\U0001f1e6" <= c <= "\U0001f1ff" for c in (before, after))
    )
