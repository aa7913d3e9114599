"""Text for terminals and pipes that cannot show all of it."""

import codecs
import sys
from io import TextIOWrapper

_ESCAPED = "embed-index.escaped"


def escape_what_cannot_be_shown() -> None:
    """Have standard output write characters that its encoding lacks by number, as JSON does.

    Python would raise an error for them, on a Latin-1 terminal or for names that are not UTF-8.
    """
    codecs.register_error(_ESCAPED, _escaped)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors=_ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    # Beyond U+FFFF JSON has two escapes, as UTF-16 has two units.
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high << 8 | low:04x}" for high, low in pairs), error.end
