"""Unicode's normal forms, in time linear in the text."""

import re
import unicodedata
from typing import Literal, TypeAlias

UnicodeForm: TypeAlias = Literal["NFC", "NFD", "NFKC", "NFKD"]
"""Normalizers that write a text in another way and keep all of it."""

# Letters, digits and white space never change what stands before them; jamo do.
_PIECE = re.compile(r"[\s\S]{1,64}(?=[\s\w])(?![\u1160-\u11ff\ud7b0-\ud7fb])|[\s\S]{1,64}")


def normalised(text: str, form: UnicodeForm) -> str:
    """Return a text in a normal form.

    Python sorts a run of combining marks in time quadratic in its length. It gets pieces, so the
    result may differ where a run is longer than any that means something.
    """
    if unicodedata.is_normalized(form, text):
        return text
    return "".join(unicodedata.normalize(form, piece[0]) for piece in _PIECE.finditer(text))
