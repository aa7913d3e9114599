"""The best place to end a chunk, as one who reads the text would choose it.

From the strongest: before a heading, at a blank line or the edge of a table or of code, before a
list item, at a line's end, after a sentence, after part of one, between words, between characters.
The end of a line within a paragraph that was wrapped by hand is hardly more than white space.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from embed_index.pipeline.model.graphemes import joins
from embed_index.pipeline.model.headings import heading_begins, lead_begin
from embed_index.schemas.records import Boundary

TOLERANCE = 0.25
"""How much of a full chunk may stay unused so that the cut falls on a better boundary."""
WIDE_TOLERANCE = 0.4
"""The same, where there is not even the end of a sentence in the narrower one."""
LOOKAHEAD_CHARS = 160
"""What follows a cut decides whether it is one, so a little past the limit is seen too."""

_NEAR = 24

# A run of any characters must be looked at once: `\s+` would look at the rest of a run, should that
# run not end in sight, from each of its characters.
_BLANK_LINE = re.compile(r"\n[ \t]*\n(?=[^\n])")
_PARAGRAPH_REQUEST = re.compile(r"\n(?=\.(?:[PLTI]?P|TQ|Pp|It)(?:[ \t\n]))")
_ITEM = re.compile(
    r"\n(?=[ \t>]*(?:[-*+•‣▪◦]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)]|[①-⑳])[ \t]+[^\s]|\d{1,3}[、．])"
)
_LINE = re.compile(r"\n(?=[^\n])")
# What begins with one certain character is found much faster.
_FULL_STOP = re.compile(r"\.['\")\]*_`]*\s+(?=\S)")
_OTHER_STOP = re.compile(r"[!?]['\")\]*_`]*\s+(?=\S)")
_SENTENCE = re.compile(
    r"[.!?…؟۔]['\"”’»)\]*_`]*\s+(?=\S)|[。！？｡।॥။។፧።։][”’」』）】》〉\"']*\s*(?=\S)"
)
_PHRASE = re.compile(r"[，、；：؛،၊፣]\s*(?=\S)")
_WHITE_SPACE = re.compile(r"\s(?=\S)")
_NO_SENTENCE = re.compile(
    r"(?:\b(?:e\.g|i\.e|z\.B|d\.h|cf|vs|Dr|Mr|Mrs|Ms|Prof|St|Fig|Nr|No|Vol|pp|resp|approx|bzw|ca)"
    r"|(?:\A|[\s(])(?:\d{1,3}|[A-Za-z]))\.\s+\Z"
)
_MAX_ABBREVIATION = 12

_MIN_WRAPPED = 40
_MIN_WRAPPED_WIDE = 15
"""In characters that are two columns wide."""
_RECORD_CHARS = 3
_CLOSING = frozenset("。，、；：！？」』）】》〉”’…・ー,.;:!?)]}")
_OPENING = frozenset("「『（【《〈“‘([{")


class Cut(NamedTuple):
    """Where a chunk ends, and why there."""

    end: int
    boundary: Boundary


class Span(NamedTuple):
    """A stretch of a window in which no cut should fall, but at its ends."""

    begin: int
    end: int


def line_feeds(text: str) -> str:
    """Write every line's end as a line feed, each character at its place."""
    return text.replace("\r\n", " \n").replace("\r", "\n") if "\r" in text else text


def best_cut(window: str, limit: int, *, kept: Sequence[Span] = ()) -> Cut:
    """Return the best place to end a chunk, counted from the window's beginning.

    Args:
        window: The text from where the chunk begins to somewhat beyond the limit, with line feeds
            alone for line ends.
        limit: The largest end at which the chunk may still fit.
        kept: What should stay whole.
    """
    search = _Search(window, limit, kept)
    cut = search.find()
    lead = lead_begin(window, cut.end, lowest=search.widest)
    if search.widest <= lead < cut.end and search.allows(lead):
        is_heading = lead in heading_begins(window, lead, lead)
        return Cut(lead, "heading" if is_heading else "blank_line")
    return cut


class _Search:
    """A search for a cut in the last part of what may become a chunk."""

    def __init__(self, window: str, limit: int, kept: Sequence[Span]) -> None:
        self._window = window
        self._limit = limit
        self._earliest = max(1, limit - int(limit * TOLERANCE))
        self.widest = max(1, limit - int(limit * WIDE_TOLERANCE))
        self._kept = _disjoint(kept)
        self._begins = [span.begin for span in self._kept]

    def find(self) -> Cut:
        first, limit = self._earliest, self._limit
        if cut := self._structure(first, limit):
            return cut
        strong, weak = self._last_sentence()
        if strong >= first:
            return Cut(strong, "sentence")
        if cut := self._structure(self.widest, first - 1):
            return cut
        if end := strong or weak:
            return Cut(end, "sentence")
        return self._within_sentence()

    def _structure(self, first: int, last: int) -> Cut | None:
        """Return the best cut that follows from the text's structure."""
        window = self._window
        if end := self._last(heading_begins(window, first, last), first, last):
            return Cut(end, "heading")
        ends = self._ends(_BLANK_LINE, first, last)
        edges = [edge for span in self._kept for edge in span if first <= edge <= last]
        if end := self._last(ends + edges, first, last):
            return Cut(end, "block" if end in edges else "blank_line")
        if "\n." in window and (end := self._last(self._ends(_PARAGRAPH_REQUEST, first, last))):
            return Cut(end, "blank_line")
        if end := self._last(self._ends(_ITEM, first, last)):
            return Cut(end, "list_item")
        for end in reversed(self._ends(_LINE, first, last)):
            if self.allows(end) and not _is_wrapped(window, end):
                return Cut(end, "line")
        return None

    def _within_sentence(self) -> Cut:
        first, limit = self._earliest, self._limit
        if not self._window.isascii() and (
            end := self._last(self._ends(_PHRASE, self.widest, limit))
        ):
            return Cut(end, "phrase")
        if end := self._last(self._ends(_LINE, first, limit)):
            return Cut(end, "wrapped_line")
        for end in reversed(self._ends(_WHITE_SPACE, first, limit)):
            if self.allows(end) and self._is_border(end):
                return Cut(end, "white_space")
        return Cut(self._character(first, limit), "character")

    def _character(self, first: int, last: int) -> int:
        fallback = 0
        for end in range(last, first - 1, -1):
            if self._is_border(end):
                if not _is_unsightly(self._window, end):
                    return end
                fallback = fallback or end
                if fallback - end > _NEAR:
                    break
        return fallback or last

    def _last_sentence(self) -> tuple[int, int]:
        """Return the end of the last sentence, and of the last that may be one; 0 for none."""
        weak = 0
        for end in reversed(self._sentences()):
            if self.allows(end) and self._is_border(end):
                if self._begins_sentence(end):
                    return end, weak
                weak = weak or end
        return 0, weak

    def _sentences(self) -> list[int]:
        window, first, last = self._window, self.widest, self._limit
        if not window.isascii():
            return self._ends(_SENTENCE, first, last)
        ends = self._ends(_FULL_STOP, first, last)
        if "!" in window or "?" in window:
            ends = sorted([*ends, *self._ends(_OTHER_STOP, first, last)])
        return ends

    def _ends(self, expression: re.Pattern[str], first: int, last: int) -> list[int]:
        found = expression.finditer(self._window, first - 1, last + _NEAR)
        return [end for match in found if first <= (end := match.end()) <= last]

    def _last(self, ends: Iterable[int], first: int = 1, last: int | None = None) -> int:
        last = self._limit if last is None else last
        found = [end for end in ends if first <= end <= last]
        if self._kept:
            found = [end for end in found if self.allows(end)]
        return max(found, default=0)

    def allows(self, end: int) -> bool:
        """Tell whether a cut would leave whole what should stay whole."""
        which = bisect_left(self._begins, end) - 1
        return which < 0 or end >= self._kept[which].end

    def _is_border(self, end: int) -> bool:
        window = self._window
        if end >= len(window):
            return True
        # The space may be a carriage return.
        is_line_end = window[end] == "\n" and window[end - 1] == " "
        return not is_line_end and not joins(window, end)

    def _begins_sentence(self, end: int) -> bool:
        window = self._window
        if end < len(window) and window[end].islower():
            return False
        return not _NO_SENTENCE.search(window, max(0, end - _MAX_ABBREVIATION), end)


def _disjoint(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, those that share a stretch as one."""
    disjoint: list[Span] = []
    for span in sorted(spans):
        if disjoint and span.begin < disjoint[-1].end:
            disjoint[-1] = Span(disjoint[-1].begin, max(span.end, disjoint[-1].end))
        else:
            disjoint.append(span)
    return disjoint


def _is_wrapped(window: str, end: int) -> bool:
    """Tell whether a paragraph goes on over the end of a line, which stands before `end`."""
    line = window.rfind("\n", 0, end - 1) + 1
    before = window[line : end - 1].rstrip(" \t")
    behind = window[end : end + _NEAR].lstrip(" \t>#/*")
    if not before or not behind:
        return False
    last, following = before[-1], behind[0]
    if _is_ideograph(last):
        return len(before) >= _MIN_WRAPPED_WIDE and _is_ideograph(following)
    if following == "." or before[0] == ".":
        # Requests stand between the lines of a manual page's paragraph.
        return not before.endswith((".", "!", "?", ":"))
    if len(before) < _MIN_WRAPPED or last in ";{}":
        return False
    if following.islower():
        return True
    is_record = window[line : line + _RECORD_CHARS] == window[end : end + _RECORD_CHARS]
    if is_record or not (last.isalnum() or last in ",-"):
        return False
    return following.isalpha() or following in "(\"'“‘`" or not before[0].isdigit()


def _is_ideograph(character: str) -> bool:
    return "\u3040" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff"


def _is_unsightly(window: str, end: int) -> bool:
    """Tell whether a cut would begin a line with what ends one, or the reverse."""
    return (end < len(window) and window[end] in _CLOSING) or window[end - 1] in _OPENING
