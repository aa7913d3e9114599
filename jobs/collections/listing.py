"""The collections of a Milvus and those that a state folder knows, side by side."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from embed_index.jobs.adapters.places import existing_ledger, lacks_milvus_lite, open_job_store
from embed_index.pipeline.disk.lock import find_holder
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.ledger.runs import RunRecord
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.schemas.moments import in_words
from embed_index.schemas.settings import JobSettings

_HEAD = ("collection", "live", "versions", "documents", "dead letters", "last run")
_NUM_LEFT_COLUMNS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedCollection:
    """What is known of a collection without reading it."""

    collection: str
    live: str | None
    """None where this Milvus has no such name."""
    num_versions: int
    ledger: str | None
    """File in the state folder; None where there is none."""
    num_documents: int | None
    """By the ledger, of its newest version that was live."""
    num_dead_letters: int | None
    """Open ones of that version."""
    last_started_at: datetime | None
    last_outcome: str | None


def list_collections(settings: JobSettings) -> list[ListedCollection]:
    """Return the collections that settings reach, by name; nothing is created.

    Raises:
        StoreError: Milvus cannot be used.
    """
    listed = list(_in_milvus(settings))
    known = {row.ledger for row in listed}
    listed.extend(
        _with_ledger(path.stem.partition("@")[0], path, live=None, num_versions=0)
        for path in sorted(settings.state_dir.glob("*.ledger"))
        if path.name not in known
    )
    return sorted(listed, key=lambda row: (row.collection, row.ledger or ""))


def _in_milvus(settings: JobSettings) -> Iterator[ListedCollection]:
    if lacks_milvus_lite(settings):
        return
    with open_job_store(settings) as store:
        for name in store.versions.aliases():
            yield _of_milvus(settings, name, store=store)


def _of_milvus(settings: JobSettings, name: str, *, store: MilvusStore) -> ListedCollection:
    return _with_ledger(
        name,
        existing_ledger(settings, name),
        live=store.versions.live(name),
        num_versions=len(store.versions.list(name)),
    )


def _with_ledger(
    name: str, path: Path | None, *, live: str | None, num_versions: int
) -> ListedCollection:
    num_documents, num_letters, last = None, None, None
    if path is not None:
        with Ledger(path) as ledger:
            last = ledger.runs.last()
            once_live = ledger.once_live()
            served = [version for version in ledger.versions() if version in once_live]
            version = live if live in served else next(reversed(served), None)
            documents = None if version is None else ledger.find_documents(version)
            if version is not None and documents is not None:
                counts = documents.counts()
                num_documents = counts.num_documents - counts.num_pending
                num_letters = ledger.dead_letters.count(version)
    return ListedCollection(
        collection=name,
        live=live,
        num_versions=num_versions,
        ledger=None if path is None else path.name,
        num_documents=num_documents,
        num_dead_letters=num_letters,
        last_started_at=None if last is None else last.started_at,
        last_outcome=None if last is None or path is None else _outcome(last, path),
    )


def _outcome(run: RunRecord, ledger: Path) -> str:
    has_died = run.outcome == "running" and find_holder(ledger.with_suffix(".lock")) is None
    return "died" if has_died else run.outcome


def collections_as_text(listed: list[ListedCollection]) -> str:
    """Return a table, one line a collection under one of headings."""
    if not listed:
        return "no collections"
    lines = [_HEAD, *map(_cells, listed)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if _NUM_LEFT_COLUMNS <= place < len(_HEAD) - 1 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def collections_as_json(listed: list[ListedCollection]) -> str:
    """Return a JSON list."""
    return json.dumps([asdict(row) for row in listed], indent=2, default=datetime.isoformat)


def _cells(row: ListedCollection) -> tuple[str, ...]:
    last = "none here"
    if row.last_started_at is not None:
        last = f"{in_words(row.last_started_at)}, {row.last_outcome}"
    if not row.num_versions:
        last += f" (only {row.ledger} in the state folder)"
    return (
        row.collection,
        row.live or "-",
        f"{row.num_versions:,}",
        "-" if row.num_documents is None else f"{row.num_documents:,}",
        "-" if row.num_dead_letters is None else f"{row.num_dead_letters:,}",
        last,
    )
