"""What a report says, from the ledger, and from the collection where it can be reached."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from embed_index.jobs.adapters.places import dead_letter_folder, find_ledger
from embed_index.jobs.reporting.quality import look_at_quality
from embed_index.jobs.reporting.sampling import look_at_collection
from embed_index.jobs.runs.history import PastRun, past_runs
from embed_index.pipeline.ledger.ledger import Ledger, ledger_files
from embed_index.pipeline.ledger.letters import OpenDeadLetter
from embed_index.pipeline.ledger.runs import RunRecord
from embed_index.pipeline.milvus.address import parse_address
from embed_index.pipeline.report.contents import (
    LetterExample,
    LetterGroup,
    ReportContents,
    ReportedPrediction,
    ReportedRun,
    StoredPart,
)
from embed_index.pipeline.report.pace import read_pace
from embed_index.schemas.errors import StoreError
from embed_index.schemas.settings import JobSettings

MAX_RUNS = 30
_MAX_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportWishes:
    """What somebody wants of a report."""

    color_by: str = ""
    """The carried column that colours the map; empty chooses one that is fit."""
    num_chunks: int = 5000
    """About so many are mapped."""
    with_texts: bool = True
    """Whether to tell texts, ids and places of documents."""


def gather(settings: JobSettings, *, wishes: ReportWishes) -> ReportContents:
    """Return what there is to say; a Milvus that stays away costs only what it alone knows.

    Raises:
        ConfigurationError: There is no ledger of the collection here, or it is unusable; or it
            carries no such column.
    """
    path = find_ledger(settings, settings.collection)
    contents = _from_ledger(settings, path, wishes=wishes)
    try:
        look = look_at_collection(
            settings,
            color_by=wishes.color_by,
            num_chunks=wishes.num_chunks,
            with_texts=wishes.with_texts,
        )
    except StoreError as error:
        return replace(contents, unreachable=error.message)
    return replace(
        contents,
        version=look.version,
        made_with=look.made_with,
        lengths=look.lengths,
        map=look.map,
        stored=(*look.stored, *contents.stored),
    )


def _from_ledger(settings: JobSettings, path: Path, *, wishes: ReportWishes) -> ReportContents:
    with Ledger(path) as ledger:
        past = past_runs(ledger, path, max_runs=MAX_RUNS)
        success = ledger.runs.last_success()
        version = next((run.version for run in ledger.runs.latest() if run.version), "")
        documents = ledger.find_documents(version)
        counts = None if documents is None else documents.counts()
        kept = next(ledger.figures.latest(kind="pace", max_sets=1), None)
        pace_run = None
        if kept is not None and kept.run_id is not None:
            pace_run = _ended(ledger.runs.get(kept.run_id), wishes)
        look = look_at_quality(ledger, with_texts=wishes.with_texts)
        return ReportContents(
            collection=settings.collection,
            version=version,
            made_at=datetime.now(UTC),
            runs=tuple(_reported(run, wishes) for run in past),
            last_success=None if success is None else _ended(success, wishes),
            num_documents=counts.num_documents - counts.num_pending if counts else 0,
            num_chunks=counts.num_chunks if counts else 0,
            num_pending=counts.num_pending if counts else 0,
            pace=read_pace(kept.content) if kept else None,
            pace_run=pace_run,
            letters=_by_reason(ledger.dead_letters.open(version), wishes),
            stored=tuple(_on_disk(settings, path)),
            predictions=tuple(_predictions(past)),
            quality=look.quality,
            quality_facts=look.facts,
            worst=look.worst,
            with_texts=wishes.with_texts,
        )


def _predictions(runs: Sequence[PastRun]) -> Iterator[ReportedPrediction]:
    for run in runs:
        told = run.prediction
        if told is not None and told.expected_total_seconds is not None:
            yield ReportedPrediction(
                at=run.record.started_at,
                expected_seconds=told.expected_total_seconds,
                taken_seconds=told.total_seconds,
            )


def _ended(record: RunRecord, wishes: ReportWishes) -> ReportedRun:
    return _reported(PastRun(record=record, outcome=record.outcome), wishes)


def _reported(run: PastRun, wishes: ReportWishes) -> ReportedRun:
    record = run.record
    return ReportedRun(
        id=record.id,
        version=record.version,
        started_at=record.started_at,
        finished_at=record.finished_at,
        outcome=run.outcome,
        exit_code=record.exit_code,
        # It may name a file, a document or a host.
        error=record.error if wishes.with_texts else "",
        counters=record.counters,
    )


def _by_reason(letters: Iterator[OpenDeadLetter], wishes: ReportWishes) -> tuple[LetterGroup, ...]:
    numbers: dict[str, int] = {}
    examples: dict[str, list[LetterExample]] = {}
    for known in letters:
        letter = known.letter
        numbers[letter.reason] = numbers.get(letter.reason, 0) + 1
        first = examples.setdefault(letter.reason, [])
        if wishes.with_texts and len(first) < _MAX_EXAMPLES:
            first.append(
                LetterExample(
                    doc_id=letter.doc_id or "",
                    place=str(letter.source),
                    detail=letter.detail,
                    attempts=letter.attempts,
                    first_seen=known.first_seen,
                )
            )
    ordered = sorted(numbers, key=lambda reason: (-numbers[reason], reason))
    return tuple(
        LetterGroup(reason=reason, num_letters=numbers[reason], examples=tuple(examples[reason]))
        for reason in ordered
    )


def _on_disk(settings: JobSettings, ledger: Path) -> Iterator[StoredPart]:
    embedded = parse_address(settings.milvus_uri).embedded_path
    places = {
        "ledger": ledger_files(ledger),
        "dead letter files": [dead_letter_folder(settings, settings.collection)],
        "Milvus Lite, all collections": [] if embedded is None else [embedded],
    }
    for name, paths in places.items():
        num_bytes = sum(map(_bytes_under, paths))
        yield StoredPart(name=name, num_bytes=num_bytes, basis="measured", where="disk")


def _bytes_under(path: Path) -> int:
    """Add up the sizes of a file, or of all in a folder; what goes away meanwhile counts not."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(folder) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total
