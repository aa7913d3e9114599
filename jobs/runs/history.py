"""What the ledger knows of a collection's runs, for `status` and `history`; nothing is created."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from embed_index.jobs.adapters.places import find_ledger
from embed_index.pipeline.disk.lock import LockHolder, find_holder
from embed_index.pipeline.evaluation.history import quality_of_run
from embed_index.pipeline.evaluation.quality import Quality
from embed_index.pipeline.ledger.entries import LedgerCounts
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.ledger.runs import RunRecord
from embed_index.pipeline.planning.prediction import Prediction
from embed_index.schemas.settings import JobSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run, and what became of it."""

    record: RunRecord
    outcome: str
    """As recorded; `running` only for one that is, and `died` for one that ended without a word."""
    quality: Quality | None = None
    """What its version was found to be worth in it; None where it was not judged."""
    prediction: Prediction | None = None
    """What it was expected to take; None where it embedded nothing, or did not come to its end."""

    @property
    def reason(self) -> str:
        """The first line of the error that ended it; empty for none."""
        return self.record.error.partition("\n")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCounts:
    """What the ledger says that a version holds."""

    name: str
    counts: LedgerCounts
    num_dead_letters: int
    """Open ones."""
    was_live: bool
    """Whether searches ever saw it; a rebuild that is not finished is in waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionStatus:
    """How a collection is doing."""

    collection: str
    holder: LockHolder | None
    """Who works on it at this moment; None for nobody."""
    last_run: PastRun | None
    last_success: PastRun | None
    last_complete: PastRun | None
    """That brought the collection in step, be it with more dead letters than allowed."""
    versions: tuple[VersionCounts, ...]
    """The oldest first."""
    asked_at: datetime

    @property
    def fresh_seconds(self) -> float | None:
        """Seconds since the last success ended; None where there is none."""
        success = self.last_success
        if success is None or success.record.finished_at is None:
            return None
        return (self.asked_at - success.record.finished_at).total_seconds()


def read_status(settings: JobSettings) -> CollectionStatus:
    """Return how a collection is doing, from its ledger and its lock alone.

    Raises:
        ConfigurationError: There is no ledger of it here, or it is unusable.
    """
    path = find_ledger(settings, settings.collection)
    with Ledger(path) as ledger:
        # Asked before the runs are read: one that ends in between is then seen as ended.
        holder = _holder(path)
        last, success = ledger.runs.last(), ledger.runs.last_success()
        complete = ledger.runs.last_complete()
        once_live = ledger.once_live()
        return CollectionStatus(
            collection=settings.collection,
            holder=holder,
            last_run=None if last is None else _past(last, holder, ledger),
            last_success=None if success is None else _past(success, holder, ledger),
            last_complete=None if complete is None else _past(complete, holder, ledger),
            versions=tuple(
                VersionCounts(
                    name=name,
                    counts=documents.counts(),
                    num_dead_letters=ledger.dead_letters.count(name),
                    was_live=name in once_live,
                )
                for name in ledger.versions()
                if (documents := ledger.find_documents(name)) is not None
            ),
            asked_at=datetime.now(UTC),
        )


def read_history(settings: JobSettings, *, limit: int | None) -> list[PastRun]:
    """Return the runs, newest first.

    Args:
        settings: Name the collection and the state folder.
        limit: How many at most; None for all.

    Raises:
        ConfigurationError: There is no ledger of the collection here, or it is unusable.
    """
    path = find_ledger(settings, settings.collection)
    with Ledger(path) as ledger:
        return past_runs(ledger, path, max_runs=-1 if limit is None else limit)


def past_runs(ledger: Ledger, path: Path, *, max_runs: int = -1) -> list[PastRun]:
    """Return the runs of an open ledger, newest first; all of them by default."""
    holder = _holder(path)
    return [
        replace(_past(record, holder, ledger), quality=quality_of_run(ledger, record.id))
        for record in ledger.runs.latest(max_runs=max_runs)
    ]


def _prediction(ledger: Ledger, run: int) -> Prediction | None:
    figures = ledger.figures.of_run(run, kind="prediction")
    return None if figures is None else Prediction.from_json(figures.content)


def _holder(ledger: Path) -> LockHolder | None:
    return find_holder(ledger.with_suffix(".lock"))


def _past(record: RunRecord, holder: LockHolder | None, ledger: Ledger) -> PastRun:
    outcome: str = record.outcome
    if record.finished_at is None:
        outcome = "running" if _is_at_work(record, holder) else "died"
    return PastRun(record=record, outcome=outcome, prediction=_prediction(ledger, record.id))


def _is_at_work(record: RunRecord, holder: LockHolder | None) -> bool:
    """Say whether the lock is held by this run, and not by another process of the same id."""
    return (
        record.outcome == "running"
        and holder is not None
        and (holder.pid, holder.host) == (record.origin.pid, record.origin.host)
        and datetime.fromisoformat(holder.started_at) <= record.started_at
    )
