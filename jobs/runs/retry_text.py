"""Writes what became of dead letters, for people and for programs."""

import json

from embed_index.jobs.collections.text import one_line
from embed_index.jobs.runs.retry import RetriedLetters
from embed_index.pipeline.ledger.letters import OpenDeadLetter, printable
from embed_index.schemas.counts import counted

_MAX_LINES = 20


def retried_as_text(retried: RetriedLetters) -> str:
    """Return the counts, then one line for each of the first letters that remain."""
    num_remaining = len(retried.remaining)
    head = (
        f"{retried.collection} ({retried.version}): {counted(retried.num_before, 'dead letter')}"
        f" retried, {counted(retried.num_chunks_embedded, 'chunk')} embedded,"
        f" {num_remaining:,} remain"
    )
    lines = [head, *map(letter_as_text, retried.remaining[:_MAX_LINES])]
    if num_remaining > _MAX_LINES:
        lines.append(f"  and {num_remaining - _MAX_LINES:,} more")
    return "\n".join(lines)


def retried_as_json(retried: RetriedLetters) -> str:
    """Return one JSON object."""
    return json.dumps(
        {
            "collection": retried.collection,
            "version": retried.version,
            "num_before": retried.num_before,
            "num_remaining": len(retried.remaining),
            "num_chunks_embedded": retried.num_chunks_embedded,
            "remaining": [letter_as_fields(known) for known in retried.remaining],
        },
        indent=2,
    )


def letter_as_text(known: OpenDeadLetter) -> str:
    """Return one indented line."""
    letter = known.letter
    document = "" if letter.doc_id is None else f" (document {one_line(letter.doc_id)})"
    place = one_line(printable(str(letter.source)))
    return f"  {place}{document}: {letter.stage}, {letter.reason}, attempt {letter.attempts}"


def letter_as_fields(known: OpenDeadLetter) -> dict[str, object]:
    """Return what JSON says of it."""
    letter = known.letter
    return {
        "doc_id": letter.doc_id,
        "source": printable(str(letter.source)),
        "stage": letter.stage,
        "reason": letter.reason,
        "detail": letter.detail,
        "chunk_index": letter.chunk_index,
        "attempts": letter.attempts,
        "first_seen": known.first_seen.isoformat(),
    }
