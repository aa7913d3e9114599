"""Under which headings each place of a text stands; in time linear in the text.

Known are those that cutting knows (`headings`), but neither within fenced code nor, in Markdown,
indented. Levels are the marks' own; of underlined headings, the order in which a text first uses
each kind of line, as reStructuredText has it.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from embed_index.pipeline.model.boundaries import line_feeds
from embed_index.pipeline.model.fences import Fences
from embed_index.pipeline.model.headings import heading_begins

_STEP_CHARS = 1 << 15
_AROUND_CHARS = 512
"""What stands before or behind a heading may decide what it is."""
_MAX_TITLE = 120
_NO_PARENT = -1

_MARKED = re.compile(r"(#{1,6}|={1,6})[ \t]+(.*?)(?:[ \t]+[#=]+)?[ \t]*")
_HTML = re.compile(r"<[hH]([1-6])\b[^>]*+>(.*?)(?:</[hH][1-6].*)?")
_LATEX = re.compile(r"\\(chapter|(?:sub){0,2}section)\*?(?:\[[^]]*+\])?\{(.*?)\}?[ \t]*")
_MANUAL = re.compile(r"\.S([HShs])[ \t]+(.*?)")
_BOOK = re.compile(r"(Part|Chapter|Appendix|Section) \S.*")
_CHINESE = re.compile(r"第[0-9一二三四五六七八九十百千零〇]{1,9}([章节節回卷部編编篇話话]).*")
_TAG = re.compile(r"<[^>]*+>")
_RULE = re.compile(r"([=\-~^\"'#*+.:_])\1{2,}+[ \t]*")
_LATEX_LEVELS = ("chapter", "section", "subsection", "subsubsection")
_BOOK_LEVELS = {"Part": 1, "Chapter": 2, "Appendix": 2, "Section": 3}
_CHINESE_LEVELS = (
    dict.fromkeys("卷部編编篇", 1) | dict.fromkeys("章回話话", 2) | dict.fromkeys("节節", 3)
)


class _Heading(NamedTuple):
    begin: int
    level: int
    title: str
    parent: int
    """Which heading it stands under."""


class HeadingPaths:
    """The headings of one text, as far as they were asked for."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._fences = Fences(text)
        self._begins: list[int] = []
        self._headings: list[_Heading] = []
        self._rules: dict[str, int] = {}
        self._num_seen = 0

    def at(self, place: int) -> tuple[str, ...]:
        """Return the titles above a place, from the outermost.

        A heading that begins there is none of them, and ends those of its level and below.
        """
        self._look_up_to(place + 1)
        number = bisect_left(self._begins, place)
        level = 0
        if number < len(self._begins) and not self._text[place : self._begins[number]].strip():
            level = self._headings[number].level
        titles: list[str] = []
        number -= 1
        while number != _NO_PARENT:
            heading = self._headings[number]
            if not level or heading.level < level:
                titles.append(heading.title)
            number = heading.parent
        return tuple(reversed(titles))

    def _look_up_to(self, place: int) -> None:
        while self._num_seen < min(place, len(self._text)):
            self._look(self._num_seen, self._num_seen + _STEP_CHARS)
            self._num_seen += _STEP_CHARS

    def _look(self, start: int, end: int) -> None:
        """Take in the headings that begin from `start` to right before `end`."""
        first = max(0, start - _AROUND_CHARS)
        # A text begins as what follows a blank line does.
        before = "\n\n" if not first else ""
        offset = first - len(before)
        window = before + line_feeds(self._text[first : end + _AROUND_CHARS])
        for begin in sorted(set(heading_begins(window, 1, end - offset - 1))):
            place = begin + offset
            if place < start or self._fences.within(place, place + 1):
                continue
            found = self._read(*_lines(window, begin))
            if found is not None and found[1]:
                self._add(place, *found)

    def _read(self, line: str, below: str, further: str) -> tuple[int, str] | None:
        """Return the level and the title of the heading that begins with a line."""
        for found in _marked(line):
            return found
        rule = _RULE.fullmatch(below)
        title = line
        is_overlined = _RULE.fullmatch(line) is not None
        if is_overlined:
            rule, title = _RULE.fullmatch(further), below
        if rule is None:
            return None
        kind = rule[1] * (1 + is_overlined)
        return self._rules.setdefault(kind, len(self._rules) + 1), _plain(title)

    def _add(self, begin: int, level: int, title: str) -> None:
        parent = len(self._headings) - 1
        while parent != _NO_PARENT and self._headings[parent].level >= level:
            parent = self._headings[parent].parent
        self._begins.append(begin)
        self._headings.append(_Heading(begin, level, title, parent))


def _marked(line: str) -> Iterator[tuple[int, str]]:
    """Yield level and title where a line's own marks say them."""
    if found := _MARKED.fullmatch(line):
        yield len(found[1]), _plain(found[2])
    elif found := _HTML.fullmatch(line):
        yield int(found[1]), _plain(_TAG.sub("", found[2]))
    elif found := _LATEX.fullmatch(line):
        yield _LATEX_LEVELS.index(found[1]) + 1, _plain(found[2])
    elif found := _MANUAL.fullmatch(line):
        yield 1 if found[1] in "Hh" else 2, _plain(found[2].strip(' \t"'))
    elif found := _BOOK.fullmatch(line):
        yield _BOOK_LEVELS[found[1]], _plain(line)
    elif found := _CHINESE.fullmatch(line):
        yield _CHINESE_LEVELS[found[1]], _plain(line)


def _lines(window: str, begin: int) -> list[str]:
    """Return the line that begins at a place and the two below it, none of them too long."""
    lines = window[begin : begin + _AROUND_CHARS].split("\n", 3)[:3]
    lines += [""] * (3 - len(lines))
    return [line.rstrip() for line in lines]


def _plain(title: str) -> str:
    return " ".join(title.split())[:_MAX_TITLE].rstrip()
