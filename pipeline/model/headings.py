"""Headings, and other lines that belong to what follows them, in one window of a text.

Known are Markdown, reStructuredText, AsciiDoc, HTML, LaTeX, the chapters of books, and the source
of manual pages. A window has line feeds alone for line ends.
"""

import re
from collections.abc import Iterator

_CHAPTER = r"(?:Chapter|Section|Part|Appendix) \S"
_MARKED = (
    r" {0,3}#{1,6}(?:[ \t]|\n)|={1,6} \S|\.S[HShs]\b|<[hH][1-6]\b"
    r"|\\(?:chapter|(?:sub){0,2}section)\b"
    r"|第[0-9一二三四五六七八九十百千零〇]{1,9}[章节節回卷部編编話话]"
)
_BEGIN = re.compile(rf"\n(?={_MARKED})")
_CHAPTER_BEGIN = re.compile(rf"\n[ \t]*\n(?={_CHAPTER})")
_CHAPTER_LINE = re.compile(_CHAPTER)
_UNDERLINE = re.compile(r"\n([=\-~^\"'#*+.:_])\1{2,}+[ \t]*(?=\n|\Z)")
_RULE = re.compile(r"([=\-~^\"'#*+.:_])\1{2,}+[ \t]*\Z")
_MAX_TITLE = 120
_MAX_INTRO_LINES = 3

_REQUEST = (
    r"\.(?:TP|TQ|IP|PP|LP|P|RS|nf|EX|It|Pp|Bl|Bd|ad|hy|ne|ie|if|el|br|sp|SY)(?=[ \t\n]|\Z)"
    r"|\.\\\""
)
"""A line of a manual page that belongs to what follows."""
_DIRECTIVE = r"[ \t]*\.\. +(?:_[^\n:]+:|[\w-]+(?::[\w-]+)?::)"
_LEADING = re.compile(f"{_MARKED}|{_REQUEST}|{_DIRECTIVE}")
_TAGGED = re.compile(r"\.T[PQ](?=[ \t\n]|\Z)")


def heading_begins(window: str, first: int, end: int) -> list[int]:
    """Return where the lines of headings begin, from `first` to `end`, in no order."""
    begins = [found.end() for found in _BEGIN.finditer(window, first - 1, end + 24)]
    if "\n\n" in window or "\n " in window:
        begins += [found.end() for found in _CHAPTER_BEGIN.finditer(window, first - 1, end + 24)]
    begins += _underlined(window, first, end)
    return [begin for begin in begins if first <= begin <= end]


def _underlined(window: str, first: int, end: int) -> Iterator[int]:
    for line in _UNDERLINE.finditer(window, first, end + _MAX_TITLE):
        begin = _title_begin(window, line.start())
        if begin is not None:
            yield begin


def _title_begin(window: str, end: int) -> int | None:
    """Return where the heading begins whose title ends where an underline's line feed stands."""
    begin = window.rfind("\n", max(0, end - _MAX_TITLE), end) + 1
    title = window[begin:end].strip()
    if not title or not begin or _RULE.match(title) or title[0] == "|":
        return None
    above = window.rfind("\n", max(0, begin - 1 - _MAX_TITLE), begin - 1) + 1
    before = window[above : begin - 1]
    if not above or not before.strip():
        return begin
    # A line of dashes below several lines of text is a paragraph's heading to Markdown alone.
    return above if _RULE.match(before) else None


def lead_begin(window: str, cut: int, *, lowest: int) -> int:
    """Return where the lines begin that stand right before a cut and belong to what follows it.

    That is the cut itself where there are none. Nothing is sought once they begin before `lowest`.
    """
    begin = cut
    while begin >= lowest and begin:
        end = _text_end(window, begin)
        line = window.rfind("\n", 0, end) + 1
        if not _leads(window, line, end):
            led = _underlined_title(window, line, end)
            if led is None:
                led = _tag_begin(window, line)
            if led is None:
                led = _intro_begin(window, line, end)
            if led is None:
                return begin
            line = led
        begin = line
    return begin


def _intro_begin(window: str, line: int, end: int) -> int | None:
    """Return where the short paragraph begins that ends with a colon at `end`."""
    if not end or window[end - 1] not in ":：":
        return None
    for _ in range(_MAX_INTRO_LINES):
        above = window.rfind("\n", max(0, line - 1 - _MAX_TITLE), max(0, line - 1)) + 1
        if not above or not line:
            return None
        if not window[above:line].strip():
            return line
        line = above
    return None


def _text_end(window: str, cut: int) -> int:
    """Return where the white space begins that ends before a cut which begins a line."""
    end = cut
    while end and window[cut - 1] == "\n":
        seen = window[max(0, end - 64) : end]
        kept = len(seen.rstrip("\n \t"))
        end += kept - len(seen)
        if kept:
            break
    return end


def _leads(window: str, line: int, end: int) -> bool:
    if end - line > 2 * _MAX_TITLE:
        return False
    if _LEADING.match(window, line, end + 1):
        return True
    return _CHAPTER_LINE.match(window, line, end) is not None and window.endswith("\n\n", 0, line)


def _underlined_title(window: str, line: int, end: int) -> int | None:
    if line < 2 or not _RULE.match(window[line : min(end, line + _MAX_TITLE)]):
        return None
    return _title_begin(window, line - 1)


def _tag_begin(window: str, line: int) -> int | None:
    """Return where the request begins that makes a line the tag of a paragraph."""
    above = window.rfind("\n", 0, max(0, line - 1)) + 1
    return above if line and _TAGGED.match(window, above, line) else None
