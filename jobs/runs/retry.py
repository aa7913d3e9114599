"""Dead letters again: their documents indexed as if they were new, and nothing else."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from embed_index.jobs.adapters.inputs import check_inputs
from embed_index.jobs.adapters.ledgers import locked_collection
from embed_index.jobs.adapters.live_version import settled_target
from embed_index.jobs.adapters.open_job import OpenJob, open_job
from embed_index.jobs.adapters.places import find_ledger, ledger_path, open_job_store
from embed_index.jobs.cli.progress import Reporter
from embed_index.jobs.runs.indexing_pass import IndexingPass
from embed_index.jobs.runs.recorded import RecordedRun, failures_recorded
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.ledger.letters import OpenDeadLetter
from embed_index.pipeline.stages.dead_letters import allowed_dead_letters
from embed_index.pipeline.stages.lettered_documents import LetteredDocuments, begin_again
from embed_index.pipeline.stages.reuse import find_vectors_by_text
from embed_index.schemas.settings import JobSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriedLetters:
    """What became of a collection's open dead letters."""

    collection: str
    version: str
    num_before: int
    remaining: tuple[OpenDeadLetter, ...]
    num_chunks_embedded: int
    num_allowed: int
    """How many may remain."""


def retry_dead_letters(settings: JobSettings, *, reporter: Reporter) -> RetriedLetters:
    """Index the documents of the open dead letters that can be indexed now.

    Raises:
        EmbedIndexError: As the exit codes say; letters that remain are no error here.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        # Before the lock is taken, so that nothing is created where there is nothing to do.
        find_ledger(settings, settings.collection)
        stack.enter_context(locked_collection(settings))
        ledger = stack.enter_context(Ledger(ledger_path(settings, settings.collection)))
        with failures_recorded(settings, ledger=ledger, began=began):
            inputs = check_inputs(settings, skip_bad_files=settings.on_bad_file == "skip")
            store = stack.enter_context(open_job_store(settings))
            target = settled_target(inputs, store=store)
            before = tuple(ledger.dead_letters.open(target.name))
        num_embedded = 0
        if before:
            run = RecordedRun(settings, ledger=ledger, began=began)
            with run.under_way():
                job = open_job(inputs, ledger=ledger, store=store, target=target)
                _try_again(job, run=run, letters=before, reporter=reporter)
            run.finish("mended")
            reporter.finished(run.summary())
            num_embedded = run.tally.num_chunks_embedded
        return RetriedLetters(
            collection=settings.collection,
            version=target.name,
            num_before=len(before),
            remaining=tuple(ledger.dead_letters.open(target.name)),
            num_chunks_embedded=num_embedded,
            num_allowed=allowed_dead_letters(
                settings.max_dead_letters, num_rows=inputs.source.num_rows
            ),
        )


def _try_again(
    job: OpenJob, *, run: RecordedRun, letters: Sequence[OpenDeadLetter], reporter: Reporter
) -> None:
    """Index the documents of dead letters, and close the letters of rows that can be read now."""
    store, target = job.store, job.target
    source = LetteredDocuments(job.inputs.source, (known.letter for known in letters))
    begin_again((known.letter for known in letters), ledger=job.documents)
    indexing = IndexingPass(
        job,
        run=run,
        source=source,
        num_documents=len(letters),
        find_vectors=partial(
            find_vectors_by_text,
            reader=store.reader,
            version=target.name,
            contract=target.contract,
        ),
        reporter=reporter,
    )

    def settle_letters() -> None:
        if indexing.flow.is_complete:
            store.flush(target.name)
            job.ledger.dead_letters.close_rows(target.name, source.readable, run=run.id)

    indexing.run(settle=settle_letters)
