"""A run's place in the history: its number and counts, its dead letters, its outcome."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from embed_index.jobs.adapters.places import dead_letter_folder
from embed_index.jobs.cli.failures import exit_code, first_cause
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.ledger.runs import Outcome
from embed_index.pipeline.report.pace import PacePoint, PaceRecorder
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.pipeline.stages.dead_letters import DeadLetterFile
from embed_index.pipeline.stages.tally import DeadLetterBox, RunTally
from embed_index.pipeline.versions.precisions import keep_precision
from embed_index.schemas.errors import EmbedIndexError
from embed_index.schemas.settings import JobSettings
from embed_index.schemas.summary import RunCounters, RunSummary


class RecordedRun:
    """A run that the history knows of, from its start to its outcome."""

    def __init__(self, settings: JobSettings, *, ledger: Ledger, began: float) -> None:
        """Write down that a run starts, before anything can fail.

        Args:
            settings: Of the job.
            ledger: Of the alias; the run lock is held.
            began: `time.monotonic()` when the command began.
        """
        self._ledger = ledger
        self._collection = settings.collection
        self._version = ""
        self._began = began
        record = ledger.runs.start()
        self.id = record.id
        self.name = record.name
        self.tally = RunTally()
        self.pace = PaceRecorder()
        self._precisions: list[str] = []
        self.num_documents: int | None = None
        """That the run is to settle; None where that is not known."""
        self._letter_file = DeadLetterFile(
            dead_letter_folder(settings, settings.collection), run=record.name
        )

    def write_to(self, version: str) -> DeadLetterBox:
        """Write down which version the run has chosen; return what takes its dead letters."""
        self._version = version
        self._ledger.runs.write_to(self.id, version=version)
        return DeadLetterBox(
            self._letter_file,
            ledger=self._ledger.dead_letters,
            version=version,
            run=self.id,
            tally=self.tally,
        )

    def made_in(self, precisions: Iterable[str], *, collection_id: str) -> None:
        """Write down in what the run's servers compute, as soon as that is known.

        Args:
            precisions: Of all its servers so far.
            collection_id: Of the version that the run writes to.
        """
        for precision in precisions:
            if precision not in self._precisions:
                self._precisions.append(precision)
                keep_precision(
                    self._ledger,
                    version=self._version,
                    collection_id=collection_id,
                    run=self.id,
                    precision=precision,
                )

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Do the run's work in this context; a failure ends the run, and is passed on."""
        try:
            with self._letter_file:
                yield
        except BaseException as error:
            self._finish_early(first_cause(error))
            raise

    def save(self) -> None:
        """Write the counts down, for whoever asks meanwhile and for a run that dies."""
        self._ledger.runs.update(self.id, counters=self.counters())

    def finish(self, outcome: Outcome, *, code: int = 0, error: str = "") -> None:
        """Write down how the run ended, and how it got on if it embedded anything."""
        counters = self.counters()
        self._ledger.runs.finish(
            self.id, outcome=outcome, exit_code=code, counters=counters, error=error
        )
        if counters.num_tokens:
            pace = self.pace.pace(pace_point(counters))
            self._ledger.figures.record(
                "pace", version=self._version, run_id=self.id, content=pace.to_json()
            )

    def counters(self) -> RunCounters:
        """Return the counts at this moment."""
        return self.tally.counters(seconds=time.monotonic() - self._began)

    def summary(self, *, is_early: bool = False) -> RunSummary:
        """Return what the run did.

        Args:
            is_early: Whether it ended before it came to its end, so that something may be left.
        """
        letters = self._letter_file.path
        left: int | None = 0
        if is_early:
            total = self.num_documents
            left = None if total is None else max(0, total - self.tally.num_documents_done)
        return RunSummary(
            collection=self._collection,
            version=self._version,
            dead_letters_file=str(letters) if letters.exists() else None,
            precision=", ".join(self._precisions),
            num_documents_left=left,
            **asdict(self.counters()),
        )

    def _finish_early(self, cause: BaseException) -> None:
        interrupted = isinstance(cause, KeyboardInterrupt)
        try:
            self.finish(
                "interrupted" if interrupted else "failed",
                code=exit_code(cause),
                error=REDACTOR.scrub(str(cause)),
            )
        except EmbedIndexError as second:
            # What ended the run is what people must read first; the history shows that it died.
            cause.add_note(second.message)


@contextmanager
def failures_recorded(settings: JobSettings, *, ledger: Ledger, began: float) -> Iterator[None]:
    """Have the history know of what fails in this context, before a run has begun there.

    Args:
        settings: Of the job.
        ledger: Of the alias; the run lock is held.
        began: `time.monotonic()` when the command began.
    """
    try:
        yield
    except BaseException:
        with RecordedRun(settings, ledger=ledger, began=began).under_way():
            raise


def pace_point(counters: RunCounters) -> PacePoint:
    """Return how far a run is."""
    return PacePoint(counters.seconds, counters.num_tokens, counters.num_documents_done)
