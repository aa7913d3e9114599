"""Token-exact chunks of a text, with character offsets and boundary preference.

A chunk's ids are the tokens of its own text, as the model would see that text sent alone, never a
slice of a longer tokenisation: whoever embeds the stored text again gets the same vector.

Where a text is cut depends on that text alone. The work is linear in it, whatever it consists of,
and no step holds the interpreter for long.
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.model.normal_forms import UnicodeForm, normalised
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import ChunkSpan, TokenIds

BOUNDARY_TOLERANCE = 0.25
"""How much of a full chunk may stay unused so that the cut falls on a better boundary."""

MIN_TEXT_TOKENS = 16
"""A character takes at most 12 tokens: U+1D160 normalises to three code points of four bytes."""

_FIRST_CHARS_PER_TOKEN = 4
_LOOKAHEAD_CHARS = 24
_MAX_GROUP_CHARS = 1 << 20
"""Of texts encoded together: some tens of milliseconds on one core."""
_PATIENCE = 3
"""How often a chunk that is too long gives way by what was too much, before it gives way faster."""

# Cuts are sought from the strongest to the weakest; each expression ends where a chunk may end.
# A run of any characters must be looked at once: `\s+` would look at the rest of a run, should that
# run not end in sight, from each of its characters.
_HEADING = re.compile(
    r"\n(?=#{1,6} |(?:Chapter|Section|Part|Appendix) \S|第[0-9一二三四五六七八九十百]+[章节節])"
)
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n(?=[^\r\n])")
_SENTENCE_END = re.compile(
    r"[.!?…؟۔।]['\"”’)\]]*\s+(?=\S)|[。！？][”’」』）]*\s*(?=\S)|\n(?=[^\r\n])"
)
_WHITE_SPACE = re.compile(r"\s(?=\S)")
_BOUNDARIES = (_HEADING, _BLANK_LINE, _SENTENCE_END, _WHITE_SPACE)


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


class Splitter(Protocol):
    """What cutting documents needs of a splitter."""

    def split(self, text: str) -> Iterator[ChunkSpan]:
        """Yield the spans of a text in order."""

    def split_all(self, texts: Sequence[str]) -> Iterator[Iterator[ChunkSpan]]:
        """Yield for each text in order what `split` yields."""


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
        self._prompt_bytes = len(normalised(prompt, "NFC").encode("utf-8"))
        self._max_ids = max_tokens - 1
        self._overlap_tokens = overlap_tokens
        self._first_reach = _FIRST_CHARS_PER_TOKEN * self._max_ids
        # A token stands for a byte at least. Where that leaves room, a vocabulary need not be read.
        num_prompt_tokens = _max_bytes(prompt)
        room = self._max_ids - num_prompt_tokens
        if prompt and (room < MIN_TEXT_TOKENS or overlap_tokens > room // 2):
            num_prompt_tokens = tokenizer.encode(prompt).size
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
        reach = self._first_reach
        while end < len(text):
            span, reach = self._next_span(text, start, reach)
            if span.char_end <= end:
                # The overlap left no room to get ahead; dense scripts in small chunks do that.
                span, reach = self._next_span(text, end, reach)
            yield span
            end = span.char_end
            start = self._overlap_start(text, span)

    def split_all(self, texts: Sequence[str]) -> Iterator[Iterator[ChunkSpan]]:
        """Yield for each text in order what `split` yields.

        Texts that may be a chunk each are encoded together: one by one, each would wait its turn
        at the interpreter.
        """
        start = 0
        while start < len(texts):
            group = self._short_texts(texts, start)
            if not group:
                yield self.split(texts[start])
                start += 1
                continue
            all_ids = self._tokenizer.encode_all([self._prompt + text for text in group])
            for text, ids in zip(group, all_ids, strict=True):
                fits = ids.size <= self._max_ids
                yield iter([self._span(0, len(text), ids)]) if fits else self.split(text)
            start += len(group)

    def _short_texts(self, texts: Sequence[str], start: int) -> list[str]:
        """Return the texts from `start` on that the first window would hold whole."""
        longest = _window_chars(self._first_reach)
        group: list[str] = []
        num_chars = 0
        for place in range(start, len(texts)):
            text = texts[place]
            num_chars += len(text) + len(self._prompt)
            if not 0 < len(text) <= longest or (group and num_chars > _MAX_GROUP_CHARS):
                break
            group.append(text)
        return group

    def chunk_lengths(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many tokens each chunk has that `split` would cut, and how many chunks a text.

        The chunks of all texts stand one after the other. Texts that are one chunk are counted
        together, which takes a fraction of the time.
        """
        in_sight = _window_chars(self._first_reach)
        short = [place for place, text in enumerate(texts) if 0 < len(text) <= in_sight]
        lengths = self._tokenizer.count([self._prompt + texts[place] for place in short]) + 1
        is_whole = lengths <= self._max_ids + 1
        if is_whole.all() and len(short) == len(texts):
            return lengths, np.ones_like(lengths)
        whole = {
            place: num_tokens
            for place, num_tokens in zip(short, lengths.tolist(), strict=True)
            if num_tokens <= self._max_ids + 1
        }
        cut: list[NDArray[np.int64]] = []
        for place, text in enumerate(texts):
            sizes = (
                [whole[place]] if place in whole else [x.token_ids.size for x in self.split(text)]
            )
            cut.append(np.array(sizes, dtype=np.int64))
        return np.concatenate(cut), np.array([sizes.size for sizes in cut], dtype=np.int64)

    def _next_span(self, text: str, start: int, reach: int) -> tuple[ChunkSpan, int]:
        """Return the span that begins at `start`, and how many characters it could have had.

        The latter is the next chunk's `reach`. The characters that this chunk has for a token would
        mislead where a few tokens of white space precede what did not fit.
        """
        limit, ids_of_rest = self._find_limit(text, start, reach)
        reach = limit - start
        for attempt in itertools.count():
            if ids_of_rest is not None:
                end, ids = limit, ids_of_rest
                break
            end = limit if limit == len(text) else best_cut(text, start, limit)
            ids = self._encode(text[start:end])
            if ids.size <= self._max_ids:
                break
            # Cutting can split what was one token, and the limit of a text that is not normalised
            # is an estimate: give way by about what was too much.
            num_chars = end - start
            excess = math.ceil((ids.size - self._max_ids) * 0.9 * num_chars / ids.size)
            if attempt >= _PATIENCE:
                # The last characters have fewer tokens than most.
                excess = max(excess, min(excess << (attempt - _PATIENCE + 1), num_chars // 2))
            limit = max(start + 1, end - excess)
        return self._span(start, end, ids), reach

    def _span(self, start: int, end: int, ids: TokenIds) -> ChunkSpan:
        with_end = np.empty(ids.size + 1, dtype=np.int32)
        with_end[:-1] = ids
        with_end[-1] = self._tokenizer.end_token_id
        return ChunkSpan(char_start=start, char_end=end, token_ids=with_end)

    def _encode(self, text: str) -> TokenIds:
        return self._tokenizer.encode(self._prompt + text)

    def _find_limit(self, text: str, start: int, reach: int) -> tuple[int, TokenIds | None]:
        """Return about the largest end at which the chunk still fits; `reach` is a first guess.

        Where all of the rest fits, its ids come with it.
        """
        num_chars = _window_chars(reach)
        while True:
            window = text[start : start + num_chars]
            ids = self._encode(window)
            if ids.size > self._max_ids:
                return start + self._chars_within(window, ids), None
            if start + num_chars >= len(text):
                return len(text), ids
            num_chars *= 2

    def _chars_within(self, window: str, ids: TokenIds) -> int:
        """Count the characters that the window's first `max_ids` tokens cover, at least one."""
        lengths = self._tokenizer.token_byte_lengths(ids[: self._max_ids])
        num_bytes = int(lengths.sum()) - self._prompt_bytes
        # Tokens cover the normalised text; where that is another one, this is an estimate, which
        # encoding the chunk itself then corrects.
        written = normalised(window, "NFC")
        covered = written.encode("utf-8")[: max(0, num_bytes)].decode("utf-8", errors="ignore")
        kept = len(covered) * len(window) // len(written)
        return max(1, min(kept, len(window)))

    def _overlap_start(self, text: str, span: ChunkSpan) -> int:
        if not self._overlap_tokens:
            return span.char_end
        # The end token stands for no text.
        tail = span.token_ids[-1 - self._overlap_tokens : -1]
        num_bytes = int(self._tokenizer.token_byte_lengths(tail).sum())
        chunk = text[span.char_start : span.char_end]
        written = normalised(chunk, "NFC")
        covered = written.encode("utf-8")[-num_bytes:].decode("utf-8", errors="ignore")
        num_chars = len(covered)
        if written != chunk:
            # An estimate; where it is too large, chunks would hardly get ahead.
            num_chars = min(num_chars * len(chunk) // len(written), len(chunk) // 2)
        earliest = max(span.char_end - num_chars, span.char_start + 1)
        for boundary in (_SENTENCE_END, _WHITE_SPACE):
            match = boundary.search(text, earliest, span.char_end)
            if match and match.end() < span.char_end:
                return match.end()
        return _whole_character(text, earliest, span.char_end, span.char_end)


def _window_chars(reach: int) -> int:
    """Return how much text is encoded at first, to see where so many characters end."""
    return int(reach * 1.25) + 16


def _max_bytes(text: str) -> int:
    """Return the bytes of a text in the Unicode form in which it has the most."""
    return max(len(normalised(text, form).encode("utf-8")) for form in get_args(UnicodeForm))


def best_cut(text: str, start: int, limit: int) -> int:
    """Return the best place to end a chunk that may reach up to `limit`."""
    earliest = max(start + 1, limit - int((limit - start) * BOUNDARY_TOLERANCE))
    for boundary in _BOUNDARIES:
        cut = 0
        # What follows a cut decides whether it is one, so a little past the limit is seen too.
        for match in boundary.finditer(text, earliest - 1, limit + _LOOKAHEAD_CHARS):
            if match.end() > limit:
                break
            cut = match.end()
        if cut:
            return cut
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
