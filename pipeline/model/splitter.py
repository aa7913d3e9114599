"""Token-exact chunks of a text, with character offsets and boundary preference.

A chunk's ids are the tokens of its own text, as the model would see that text sent alone, never a
slice of a longer tokenisation: whoever embeds the stored text again gets the same vector.

Where a text is cut depends on that text alone. The work is linear in it, whatever it consists of,
and no step holds the interpreter for long.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.model.boundaries import Cut
from embed_index.pipeline.model.cutting import Cutting
from embed_index.pipeline.model.graphemes import joins
from embed_index.pipeline.model.normal_forms import UnicodeForm, normalised
from embed_index.pipeline.model.prefixes import PrefixRules
from embed_index.pipeline.model.spans import SpanFinder, Tokenizer, window_chars
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import ChunkSpan

SPLITTER_VERSION = 2
"""Of the rules by which texts are cut, as contracts name it; another one cuts some text elsewhere.

1: headings by Markdown's and books' marks, blank lines, sentences, any line's end.
2: structure as `boundaries` and `blocks` know it.
"""
MIN_TEXT_TOKENS = 16
"""A character takes at most 12 tokens: U+1D160 normalises to three code points of four bytes."""

_FIRST_CHARS_PER_TOKEN = 4
_MAX_GROUP_CHARS = 1 << 20
"""Of texts encoded together: some tens of milliseconds on one core."""
_PREFIX_SHARE = 4
"""What part of the room the prefix columns may take, and the headings again."""
_OVERLAP_BEGINS = (
    re.compile(r"[.!?…؟۔।]['\"”’)\]]*\s+(?=\S)|[。！？][”’」』）]*\s*(?=\S)|\n(?=[^\r\n])"),
    re.compile(r"\s(?=\S)"),
)


class Splitter(Protocol):
    """What cutting documents needs of a splitter."""

    max_tokens: int
    """Of a chunk, at most: everything that the model sees of it."""

    def split(self, text: str, *, about: str = "") -> Iterator[ChunkSpan]:
        """Yield the spans of a text in order, `about` before each as the model sees it."""

    def split_all(
        self, texts: Sequence[str], *, about: Sequence[str] = ()
    ) -> Iterator[Iterator[ChunkSpan]]:
        """Yield for each text in order what `split` yields."""

    def restore(
        self, text: str, places: Sequence[tuple[int, int]], *, about: str = ""
    ) -> Iterator[ChunkSpan]:
        """Yield the spans of a text that was cut before, given where each begins and ends."""


class TextSplitter:
    """Splits texts into spans of at most `max_tokens` tokens, instruction and end included."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_tokens: int,
        overlap_tokens: int = 0,
        prompt: str = "",
        prefix_headings: bool = False,
    ) -> None:
        """Prepare a splitter.

        Args:
            tokenizer: The model's tokenizer.
            max_tokens: Everything the model sees of one chunk: prompt, prefix, text, end token.
            overlap_tokens: How many tokens of text a chunk repeats of the one before, at most.
            prompt: Put before every chunk.
            prefix_headings: Whether the headings above a chunk are put before its text.

        Raises:
            ConfigurationError: The prompt leaves no room for text, or the overlap none to advance.
        """
        self._tokenizer = tokenizer
        self._prompt = prompt
        self.max_tokens = max_tokens
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
        self._spans = SpanFinder(tokenizer, max_ids=self._max_ids, prompt=prompt)
        self._prefixes = PrefixRules(
            tokenizer,
            max_tokens=(room - MIN_TEXT_TOKENS) // _PREFIX_SHARE,
            with_headings=prefix_headings,
        )

    def split(self, text: str, *, about: str = "") -> Iterator[ChunkSpan]:
        """Yield the spans of a text in order.

        Without overlap they concatenate to the text exactly. No span is empty, none is longer than
        `max_tokens`, and a cut never falls between a character and its combining marks where a
        shorter chunk avoids it. An empty text has no spans.
        """
        start = end = 0
        prefixes = self._prefixes.of(text, about)
        cutting = Cutting(text, reach=self._first_reach, prefixes=prefixes)
        while end < len(text):
            span = self._spans.next(cutting, start)
            if span.char_end <= end:
                # The overlap left no room to get ahead; dense scripts in small chunks do that.
                span = self._spans.next(cutting, end)
            yield span
            end = span.char_end
            start = self._overlap_start(text, span)

    def split_all(
        self, texts: Sequence[str], *, about: Sequence[str] = ()
    ) -> Iterator[Iterator[ChunkSpan]]:
        """Yield for each text in order what `split` yields.

        Texts that may be a chunk each are encoded together: one by one, each would wait its turn
        at the interpreter.
        """
        start = 0
        about = about or [""] * len(texts)
        while start < len(texts):
            group = self._short_texts(texts, start)
            if not group:
                yield self.split(texts[start], about=about[start])
                start += 1
                continue
            said = about[start : start + len(group)]
            prefixes = list(map(self._prefixes.first, said))
            seen = [self._prompt + x + text for x, text in zip(prefixes, group, strict=True)]
            all_ids = self._tokenizer.encode_all(seen)
            for text, one, prefix, ids in zip(group, said, prefixes, all_ids, strict=True):
                if ids.size <= self._max_ids:
                    yield iter([self._spans.span(0, Cut(len(text), "end"), ids, prefix=prefix)])
                else:
                    yield self.split(text, about=one)
            start += len(group)

    def _short_texts(self, texts: Sequence[str], start: int) -> list[str]:
        """Return the texts from `start` on that the first window would hold whole."""
        longest = window_chars(self._first_reach)
        group: list[str] = []
        num_chars = 0
        for place in range(start, len(texts)):
            text = texts[place]
            num_chars += len(text) + len(self._prompt)
            if not 0 < len(text) <= longest or (group and num_chars > _MAX_GROUP_CHARS):
                break
            group.append(text)
        return group

    def chunk_lengths(
        self, texts: Sequence[str], *, about: Sequence[str] = ()
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many tokens each chunk has that `split` would cut, and how many chunks a text.

        The chunks of all texts stand one after the other. Texts that are one chunk are counted
        together, which takes a fraction of the time.
        """
        in_sight = window_chars(self._first_reach)
        about = about or [""] * len(texts)
        short = [place for place, text in enumerate(texts) if 0 < len(text) <= in_sight]
        seen = [self._prompt + self._prefixes.first(about[x]) + texts[x] for x in short]
        lengths = self._tokenizer.count(seen) + 1
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
            sizes = [whole[place]] if place in whole else []
            sizes = sizes or [x.token_ids.size for x in self.split(text, about=about[place])]
            cut.append(np.array(sizes, dtype=np.int64))
        return np.concatenate(cut), np.array([sizes.size for sizes in cut], dtype=np.int64)

    def restore(
        self, text: str, places: Sequence[tuple[int, int]], *, about: str = ""
    ) -> Iterator[ChunkSpan]:
        """Yield the spans of a text that was cut before, given where each begins and ends."""
        prefixes = self._prefixes.of(text, about)
        for begin, end in places:
            prefix = prefixes.at(begin)
            ids = self._tokenizer.encode(self._prompt + prefix + text[begin:end])
            yield self._spans.span(begin, Cut(end, "end"), ids, prefix=prefix)

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
        for boundary in _OVERLAP_BEGINS:
            match = boundary.search(text, earliest, span.char_end)
            if match and match.end() < span.char_end:
                return match.end()
        return _whole_character(text, earliest, span.char_end, span.char_end)


def _max_bytes(text: str) -> int:
    """Return the bytes of a text in the Unicode form in which it has the most."""
    return max(len(normalised(text, form).encode("utf-8")) for form in get_args(UnicodeForm))


def _whole_character(text: str, earliest: int, latest: int, fallback: int) -> int:
    for position in range(earliest, latest):
        if not joins(text, position):
            return position
    return fallback
