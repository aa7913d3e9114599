"""What stays whole where it can: tables and blocks of code, in one window of a text.

A window has line feeds alone for line ends, and begins where a chunk does. What began before it
was too long for a chunk, or else the chunk would begin with it.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import TypeAlias

Block: TypeAlias = tuple[int, int | None]
"""Where a block begins and ends; None for an end that the window does not show."""

_ROWS = r"(?:[ \t>]*(?:\||\+[-=+])[^\n]*(?:\n|\Z))"
_FIRST_ROWS = re.compile(rf"{_ROWS}{{2,}}+")
_NEXT_ROWS = re.compile(rf"\n({_ROWS}{{2,}}+)")
"""Rows with borders on the left, as Markdown, reStructuredText and Org have them."""
_UNDER_HEAD = re.compile(
    r"\n[ \t>]*:?-+:?[ \t]*\|[-|: \t]*(?:\n|\Z)((?:[^\n|]*\|[^\n]*(?:\n|\Z))*+)"
)
"""What separates the head of a Markdown table without borders, and the rows below it."""
_SIMPLE_BORDER = re.compile(r"\n[ \t]*={2,}+(?:[ \t]++={2,}+)++[ \t]*(?=\n|\Z)")
_BLANK = re.compile(r"[ \t]*\n")
_COLONS = re.compile(r"::([^\n]*)\n")
_CODE_DIRECTIVE = re.compile(
    r"[ \t]*\.\. +(?:code|code-block|sourcecode|parsed-literal|highlight|math|prompt|console"
    r"|(?:csv-|list-)?table|image|figure|toctree|doctest|testcode|productionlist)\Z"
)
_MAX_INDENT = 40


def blocks_of(window: str, *, near: int = 0) -> list[Block]:
    """Return tables and indented code, in no order.

    Args:
        window: What is seen of a text.
        near: Only blocks that reach beyond this place are of interest.
    """
    blocks: list[Block] = []
    if window.find("|", near) >= 0 or window.find("+-", near) >= 0:
        blocks += _bordered_tables(window)
        blocks += _open_tables(window)
    if "== " in window or "==\t" in window:
        blocks += _simple_tables(window)
    if "::" in window and (window.find("\n ", near) >= 0 or window.find("\n\t", near) >= 0):
        blocks += _indented_code(window)
    return blocks


def _bordered_tables(window: str) -> Iterator[Block]:
    first = _FIRST_ROWS.match(window)
    if first:
        yield 0, _end(window, first.end())
    for found in _NEXT_ROWS.finditer(window):
        yield found.start(1), _end(window, found.end())


def _open_tables(window: str) -> Iterator[Block]:
    for found in _UNDER_HEAD.finditer(window):
        head = window.rfind("\n", 0, found.start()) + 1
        if "|" in window[head : found.start()]:
            yield head, _end(window, found.end())


def _simple_tables(window: str) -> Iterator[Block]:
    begin: int | None = None
    for border in _SIMPLE_BORDER.finditer(window):
        begin = border.start() + 1 if begin is None else begin
        behind = border.end() + 1
        if behind >= len(window):
            break
        if _BLANK.match(window, behind):
            if begin <= border.start():
                yield begin, behind
            begin = None
    if begin is not None:
        yield begin, None


def _indented_code(window: str) -> Iterator[Block]:
    behind = 0
    for colons in _COLONS.finditer(window):
        if colons.start() < behind:
            continue
        line = window.rfind("\n", 0, colons.start()) + 1
        is_directive = _CODE_DIRECTIVE.match(window, line, colons.start())
        if not is_directive and colons[1].strip():
            continue
        before = window[line : colons.start()]
        indent = len(before) - len(before.lstrip())
        if indent > _MAX_INDENT:
            continue
        body = _body(indent).match(window, colons.end())
        assert body is not None
        behind = body.end()
        if body[0].strip():
            begin = line if is_directive else colons.end()
            yield begin, _end(window, begin + len(window[begin : body.end()].rstrip()) + 1)


@cache
def _body(indent: int) -> re.Pattern[str]:
    """Return what matches the lines, perhaps none, that are indented more than so much."""
    return re.compile(rf"(?:[ \t]*\n|[ \t]{{{indent + 1}}}[^\n]*(?:\n|\Z))*+")


def _end(window: str, end: int) -> int | None:
    """Return the end of a block; None where it reaches the end of what is seen."""
    return end if end < len(window) else None
