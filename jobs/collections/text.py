"""Writes hits, descriptions and what became of versions, for people and for programs."""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict

import click

from embed_index.pipeline.library.hits import hit_fields
from embed_index.pipeline.milvus.stored import Hit
from embed_index.pipeline.versions.changes import AliasMove, VersionCleanup
from embed_index.schemas.counts import counted
from embed_index.schemas.description import CollectionDescription, VersionDescription
from embed_index.schemas.indexes import Reindexed

SNIPPET_CHARACTERS = 240
_MODES = "by meaning, by words, or by both (--mode dense, text, hybrid)"
_DENSE_ONLY = "by meaning alone; by words, too, with `text_search = true` and a rebuild"
_TURNS_DIRECTION = frozenset({"LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def hits_as_text(hits: Sequence[Hit]) -> str:
    """Return two lines a hit: rank, score, document, span and source, then a snippet."""
    return "\n".join(_hit_as_text(hit, rank) for rank, hit in enumerate(hits, start=1))


def hits_as_json(hits: Sequence[Hit]) -> str:
    """Return a JSON list in the order of rank."""
    ranked = [hit_fields(hit, rank=rank) for rank, hit in enumerate(hits, start=1)]
    return json.dumps(ranked, ensure_ascii=False, indent=2)


def hits_as_json_lines(hits: Sequence[Hit], **more: object) -> str:
    """Return a JSON object a line, each with what else is to be said of it first."""
    return "\n".join(
        json.dumps(more | hit_fields(hit, rank=rank), ensure_ascii=False)
        for rank, hit in enumerate(hits, start=1)
    )


def description_as_text(description: CollectionDescription) -> str:
    """Return the collection, its versions and its contract, one fact a line."""
    documents = description.num_documents
    contract = description.to_dict()["contract"]
    assert isinstance(contract, dict)
    facts = [
        ("collection", description.collection),
        ("milvus", description.milvus),
        ("documents", _unknown_here(None if documents is None else f"{documents:,}")),
        *((version.name, _version_as_text(version)) for version in description.versions),
        ("carried", ", ".join(f"{x.name} ({x.type})" for x in description.carried) or "nothing"),
        ("search", _MODES if description.has_words else _DENSE_ONLY),
        ("precisions", _unknown_here(description.precisions)),
        *((name, _value_as_text(value)) for name, value in contract.items()),
    ]
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in facts)


def description_as_json(description: CollectionDescription) -> str:
    """Return one JSON object."""
    return json.dumps(description.to_dict(), ensure_ascii=False, indent=2)


def snippet(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = one_line(text[: SNIPPET_CHARACTERS * 4])
    return line if len(line) <= SNIPPET_CHARACTERS else line[:SNIPPET_CHARACTERS].rstrip() + "…"


def one_line(text: str) -> str:
    """Return a text with nothing in it that a terminal obeys.

    Invisible characters that belong to words and emoji stay, such as joiners; those that would turn
    the direction of what follows do not.
    """
    line = " ".join(text.split())
    return "".join("�" if _is_obeyed(character) else character for character in line)


def _is_obeyed(character: str) -> bool:
    if character.isprintable():
        return False
    return (
        unicodedata.category(character) in ("Cc", "Cs")
        or unicodedata.bidirectional(character) in _TURNS_DIRECTION
    )


def _hit_as_text(hit: Hit, rank: int) -> str:
    chunk = hit.chunk
    span = f"chars {chunk.char_start}-{chunk.char_end}"
    part = f"chunk {chunk.chunk_index + 1}/{chunk.num_chunks}"
    document, source = one_line(chunk.doc_id), one_line(chunk.source)
    score = click.style(f"{hit.score:.4f}", dim=True)
    where = click.style(f"({span}, {part})  {source}", dim=True)
    cut = "" if chunk.text_complete else click.style("  text cut in Milvus", fg="yellow")
    head = f"{rank:>3}  {score}  {document}  {where}{cut}"
    return f"{head}\n     {snippet(chunk.text or '')}"


def _version_as_text(version: VersionDescription) -> str:
    return counted(version.num_chunks, "chunk") + (", live" if version.live else "")


def _unknown_here(value: str | None) -> str:
    return "unknown here" if value is None else value


def _value_as_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def move_as_text(move: AliasMove) -> str:
    """Return one line."""
    if move.live == move.before:
        return f"{move.live} is live already"
    return f"{move.live} is live" + (f", {move.before} was" if move.before else "")


def move_as_json(move: AliasMove) -> str:
    """Return one JSON object."""
    return json.dumps(asdict(move), indent=2)


def reindexed_as_text(done: Reindexed) -> str:
    """Return one line."""
    if not done.changed:
        return f"{done.version} has {done.now} already"
    was = f", was {done.before}" if done.before else ""
    return f"{done.version} has {done.now} in {done.seconds:.1f} s{was}"


def reindexed_as_json(done: Reindexed) -> str:
    """Return one JSON object."""
    return json.dumps(asdict(done), indent=2)


def cleanup_as_text(cleanup: VersionCleanup, *, dry_run: bool) -> str:
    """Return what was dropped, or would be, and what stays: one line a version."""
    gone = "would drop" if dry_run else "dropped"
    return "\n".join(
        [
            *(f"{gone} {name}" for name in cleanup.dropped),
            *(f"kept {name}{', live' * (name == cleanup.live)}" for name in cleanup.kept),
        ]
    )


def cleanup_as_json(cleanup: VersionCleanup, *, dry_run: bool) -> str:
    """Return one JSON object."""
    return json.dumps(asdict(cleanup) | {"dry_run": dry_run}, indent=2)
