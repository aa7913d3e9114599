"""A cut document in writing: chunks, where they begin and end, and why there."""

import json
from collections.abc import Mapping

import click

from embed_index.jobs.cutting.document import CutDocument
from embed_index.schemas.counts import counted
from embed_index.schemas.records import Boundary

_WHY: Mapping[Boundary, str] = {
    "end": "with the text",
    "heading": "before a heading",
    "block": "beside a table or code, which stays whole where it fits",
    "blank_line": "at a blank line",
    "list_item": "before a list item",
    "line": "at the end of a line",
    "sentence": "after a sentence",
    "phrase": "within a sentence, after a part of it",
    "wrapped_line": "within a sentence, at the end of a line",
    "white_space": "between words",
    "character": "between characters, for want of anything better",
}
_STRONG = frozenset({"end", "heading", "block", "blank_line", "list_item", "line", "sentence"})


def as_text(cut: CutDocument) -> str:
    """Return the chunks under each other, with what is to be said of each, coloured."""
    parts = [_summary(cut)]
    for number, span in enumerate(cut.spans, 1):
        head = (
            f"── chunk {number} of {len(cut.spans)}: characters {span.char_start:,} to"
            f" {span.char_end:,}, {counted(span.token_ids.size, 'token')}"
        )
        colour = "green" if span.boundary in _STRONG else "yellow"
        parts += [
            click.style(head, fg="cyan", bold=True),
            *([click.style(_before(span.prefix), dim=True)] if span.prefix else ()),
            cut.text[span.char_start : span.char_end].rstrip("\r\n"),
            click.style(f"── ends {_WHY[span.boundary]}", fg=colour),
        ]
    return "\n".join(parts)


def as_json(cut: CutDocument) -> str:
    """Return one JSON object."""
    chunks = [
        {
            "chunk_index": index,
            "char_start": span.char_start,
            "char_end": span.char_end,
            "num_tokens": int(span.token_ids.size),
            "boundary": span.boundary,
            "prefix": span.prefix,
            "text": cut.text[span.char_start : span.char_end],
        }
        for index, span in enumerate(cut.spans)
    ]
    return json.dumps(
        {"document": cut.name, "max_tokens": cut.max_tokens, "chunks": chunks}, ensure_ascii=False
    )


def _before(prefix: str) -> str:
    return f"── seen before it: {' | '.join(prefix.splitlines()[:-1])}"


def _summary(cut: CutDocument) -> str:
    num_tokens = sum(span.token_ids.size for span in cut.spans)
    full = num_tokens / (cut.max_tokens * max(1, len(cut.spans)))
    return (
        f"{cut.name}: {counted(len(cut.text), 'character')}, {counted(num_tokens, 'token')},"
        f" {counted(len(cut.spans), 'chunk')} of at most {cut.max_tokens:,} tokens,"
        f" filled to {full:.0%}"
    )
