"""Where a text has fenced code, as Markdown writes it; in time linear in the text.

Whether a mark opens or closes is known by what stands before it, so that marks are looked at from
the text's beginning, each once.
"""

import re
from bisect import bisect_right
from typing import NamedTuple

_MARKS = ("```", "~~~")
_MARK = re.compile(r"`{3,}|~{3,}")
_BEFORE = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?")
"""What may stand before a fence in its line: indentation, quotation marks, a list item's mark."""
_MAX_BEFORE = 40
_MAX_INFO = 200
_MAX_PASSED = 1024
_LINE_END = re.compile(r"\r\n?|\n")


class _Opened(NamedTuple):
    begin: int
    mark: str


class Fences:
    """The fenced blocks of one text, as far as they were asked for; ask from front to back."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._next = [_find(text, mark, 0) for mark in _MARKS]
        self._begins: list[int] = []
        self._ends: list[int] = []
        self._opened: _Opened | None = None
        self._has_returns = self.exist and "\r" in text

    @property
    def exist(self) -> bool:
        """Whether there may be any in what was not looked at yet, or were before."""
        return min(self._next) < len(self._text) or bool(self._begins) or self._opened is not None

    def forget(self, start: int) -> None:
        """Drop the blocks before a place from which nobody asks any more."""
        passed = bisect_right(self._ends, start)
        if passed > _MAX_PASSED:
            del self._begins[:passed], self._ends[:passed]

    def within(self, start: int, end: int) -> list[tuple[int, int | None]]:
        """Return the blocks that begin before `end` and end behind `start`.

        The end of one is None if it is not closed before `end`; it may not be closed at all.
        """
        self._look_up_to(end)
        first = bisect_right(self._ends, start)
        blocks: list[tuple[int, int | None]] = []
        for begin, close in zip(self._begins[first:], self._ends[first:], strict=True):
            if begin >= end:
                break
            blocks.append((begin, close))
        if self._opened is not None and self._opened.begin < end:
            blocks.append((self._opened.begin, None))
        return blocks

    def _look_up_to(self, end: int) -> None:
        end = min(end, len(self._text))
        while (place := min(self._next)) < end:
            behind = self._take(place)
            for which, mark in enumerate(_MARKS):
                if self._next[which] < behind:
                    self._next[which] = _find(self._text, mark, behind)

    def _take(self, place: int) -> int:
        """Look at a line with a mark in it; return where the next line begins."""
        text = self._text
        mark = _MARK.match(text, place)
        assert mark is not None
        line_end, behind = self._line_end(mark.end())
        begin = self._line_begin(place)
        if begin is None:
            return behind
        info = ""
        if line_end > mark.end():
            info = text[mark.end() : min(line_end, mark.end() + _MAX_INFO)].strip()
        opened = self._opened
        if opened is None:
            is_tilde = mark[0][0] == "~"
            is_none = self._underlines(begin, mark[0], info) if is_tilde else "`" in info
            if not is_none:
                self._opened = _Opened(begin, mark[0])
        elif not info and mark[0].startswith(opened.mark):
            self._begins.append(opened.begin)
            self._ends.append(behind)
            self._opened = None
        return behind

    def _line_begin(self, place: int) -> int | None:
        """Return where the line of a mark begins, if nothing of weight stands before the mark."""
        if not place or self._text[place - 1] in "\r\n":
            return place
        first = max(0, place - _MAX_BEFORE)
        before = self._text[first:place]
        line = max(before.rfind("\n"), before.rfind("\r")) + 1
        is_whole = line > 0 or first == 0
        return first + line if is_whole and _BEFORE.fullmatch(before, line) else None

    def _underlines(self, begin: int, mark: str, info: str) -> bool:
        """Tell whether a mark is no fence, but what reStructuredText writes below a title."""
        above = self._text[max(0, begin - len(mark) - 2) : begin].splitlines()
        return not info and bool(above) and 0 < len(above[-1].strip()) <= len(mark)

    def _line_end(self, place: int) -> tuple[int, int]:
        if not self._has_returns:
            end = _find(self._text, "\n", place)
            return end, min(end + 1, len(self._text))
        found = _LINE_END.search(self._text, place)
        return found.span() if found else (len(self._text), len(self._text))


def _find(text: str, part: str, start: int) -> int:
    place = text.find(part, start)
    return len(text) if place < 0 else place
