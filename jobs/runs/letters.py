"""The open dead letters of a collection, for people and for programs."""

import json
from collections.abc import Sequence
from itertools import groupby

from embed_index.jobs.adapters.places import find_ledger
from embed_index.jobs.runs.retry_text import letter_as_fields, letter_as_text
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.ledger.letters import OpenDeadLetter
from embed_index.schemas.reasons import check_reason
from embed_index.schemas.settings import JobSettings


def read_letters(settings: JobSettings, *, reason: str | None = None) -> list[OpenDeadLetter]:
    """Return the open letters of the version last written to, by reason; of one if it is given.

    Raises:
        ConfigurationError: There is no ledger of the collection here, or it is unusable; or there
            is no such reason.
    """
    if reason is not None:
        check_reason(reason)
    with Ledger(find_ledger(settings, settings.collection)) as ledger:
        version = next((run.version for run in ledger.runs.latest() if run.version), "")
        letters = ledger.dead_letters.open(version)
        return sorted(
            (x for x in letters if reason in (None, x.letter.reason)), key=lambda x: x.letter.reason
        )


def letters_as_text(letters: Sequence[OpenDeadLetter], *, reason: str | None = None) -> str:
    """Return a line for each reason and one for its first letter; of one reason, for all of them.

    Args:
        letters: By reason.
        reason: What they were chosen by.
    """
    lines = []
    for shared, group in groupby(letters, key=lambda x: x.letter.reason):
        found = list(group)
        lines.append(f"{len(found):,} {shared}: {found[0].letter.detail}")
        lines.extend(map(letter_as_text, found if reason else found[:1]))
    none = "no dead letters" if reason is None else f"no dead letters with the reason {reason}"
    return "\n".join(lines) or none


def letters_as_json(letters: Sequence[OpenDeadLetter]) -> str:
    """Return a JSON list."""
    return json.dumps([letter_as_fields(known) for known in letters], indent=2)
