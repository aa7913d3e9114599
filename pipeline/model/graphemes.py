"""Where two characters are seen as one: the rules of Unicode's annex 29, near a place for a cut.

They err on the side of joining: a place that is called a border is one, and some that are borders,
such as between a joiner and a letter, are not called so.
"""

import unicodedata
from itertools import takewhile

_ZWJ = "\u200d"
_EXTENDING = frozenset("\u200c\u200d\u0e33\u0eb3\uff9e\uff9f")
"""Characters that extend the one before them, and are no marks by category."""
_PREPENDED = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\U000110bd\U000110cd"
    "\U000111c2\U000111c3\U000113d1\U0001193f\U00011941\U00011a3a\U00011a84\U00011a85\U00011a86"
    "\U00011a87\U00011a88\U00011a89\U00011d46\U00011f02"
)
_VIRAMA = 9
"""The combining class of what joins the consonants of one syllable in Indic scripts."""
_MAX_MARKS = 8


def joins(text: str, position: int) -> bool:
    """Tell whether the characters around a position inside of a text are seen as one."""
    before, after = text[position - 1], text[position]
    if before == "\r":
        return after == "\n"
    if before == "\n":
        return False
    if before == _ZWJ or before in _PREPENDED:
        return True
    if after < "\u0300":
        return False
    category = unicodedata.category(after)
    if category[0] == "M" or after in _EXTENDING:
        return unicodedata.category(before) != "Cc"
    if category == "Lo":
        return _joins_letter(text, position)
    if "\U0001f1e6" <= after <= "\U0001f1ff":
        return _joins_flag(text, position)
    return _extends_emoji(after)


def _joins_letter(text: str, position: int) -> bool:
    before, after = text[position - 1], text[position]
    if _is_jamo(before) or "\uac00" <= before <= "\ud7a3":
        if _is_leading(before):
            return _is_jamo(after) or "\uac00" <= after <= "\ud7a3"
        return _is_jamo(after) and not _is_leading(after)
    marks = takewhile(_is_mark, reversed(text[max(0, position - _MAX_MARKS) : position]))
    return any(unicodedata.combining(mark) == _VIRAMA for mark in marks)


def _joins_flag(text: str, position: int) -> bool:
    """Tell whether the indicator at a position is the second one of a flag."""
    first = position
    while first and "\U0001f1e6" <= text[first - 1] <= "\U0001f1ff":
        first -= 1
    return (position - first) % 2 == 1


def _is_leading(character: str) -> bool:
    """Tell whether a jamo begins a syllable."""
    return "\u1100" <= character <= "\u115f" or "\ua960" <= character <= "\ua97c"


def _is_jamo(character: str) -> bool:
    return (
        "\u1100" <= character <= "\u11ff"
        or "\ua960" <= character <= "\ua97c"
        or "\ud7b0" <= character <= "\ud7fb"
    )


def _is_mark(character: str) -> bool:
    return (
        unicodedata.category(character)[0] == "M"
        or character in _EXTENDING
        or _extends_emoji(character)
    )


def _extends_emoji(character: str) -> bool:
    """Tell whether a character is a skin tone or a tag."""
    return "\U0001f3fb" <= character <= "\U0001f3ff" or "\U000e0020" <= character <= "\U000e007f"
