"""The stable short codes that say why something is a dead letter."""

import re
from difflib import get_close_matches

from embed_index.schemas.errors import ConfigurationError

REASONS = (
    *("null_id", "empty_id", "invalid_id", "long_id", "duplicate_id"),
    *("null_text", "empty_text", "invalid_text", "nul_in_text", "huge_text"),
    *("invalid_carried", "long_carried", "bad_file"),
    *("altered_input", "no_tokens", "too_many_tokens", "token_out_of_range"),
    *("kills_server", "unusable_vector"),
)
"""All but `refused_` with the status by which a server refused a chunk."""

_REFUSED = re.compile(r"refused_\d{3}")


def check_reason(text: str) -> None:
    """Refuse what is no reason, so that a slip does not look like an absence of letters.

    Raises:
        ConfigurationError: It is none.
    """
    if text in REASONS or _REFUSED.fullmatch(text):
        return
    close = get_close_matches(text, REASONS, n=1)
    raise ConfigurationError(
        f"reason: no dead letter has the reason {text!r}",
        remedy=f"Did you mean {close[0]}?"
        if close
        else f"There are {', '.join(REASONS)}, and refused_400 or another status.",
    )
