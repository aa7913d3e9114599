"""One run of a job: the corpus indexed, the collection settled, the outcome recorded."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from embed_index.jobs.adapters.arrangement import arrangement_of
from embed_index.jobs.adapters.inputs import check_inputs
from embed_index.jobs.adapters.kept_vectors import kept_vectors, made_of_kept
from embed_index.jobs.adapters.ledgers import locked_collection
from embed_index.jobs.adapters.live_version import target_of
from embed_index.jobs.adapters.open_job import OpenJob, open_job
from embed_index.jobs.adapters.places import ledger_path, open_job_store
from embed_index.jobs.cli.failures import exit_code, first_cause
from embed_index.jobs.cli.progress import Reporter
from embed_index.jobs.runs.indexing_pass import IndexingPass
from embed_index.jobs.runs.predicted import keep_prediction, plan_within_limits
from embed_index.jobs.runs.recorded import RecordedRun
from embed_index.pipeline.archive.kept_reader import KeptReader
from embed_index.pipeline.corpus.source import FirstDocuments
from embed_index.pipeline.disk.heap import bound_heap, give_back
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.model.splitter import SPLITTER_VERSION
from embed_index.pipeline.settling import settle
from embed_index.pipeline.stages.dead_letters import excess_of_letters
from embed_index.pipeline.stages.lettered_documents import begin_again
from embed_index.pipeline.stages.reuse import (
    VectorFinder,
    find_vectors,
    find_vectors_by_text,
    or_kept,
)
from embed_index.pipeline.versions.made import keep_made
from embed_index.pipeline.versions.target import create_target
from embed_index.schemas.errors import DeadLetterLimitError
from embed_index.schemas.settings import JobSettings
from embed_index.schemas.summary import RunSummary

if TYPE_CHECKING:
    from embed_index.jobs.evaluation.judging import QualityQuestion


def run_index_job(settings: JobSettings, *, reporter: Reporter) -> RunSummary:
    """Bring the collection in step with the corpus.

    Raises:
        EmbedIndexError: As the exit codes say; what was done is kept, and the next run goes on.
        KeyboardInterrupt: The run was asked to stop, and what was in flight is done.
    """
    began = time.monotonic()
    bound_heap()
    with ExitStack() as stack:
        stack.enter_context(locked_collection(settings))
        ledger = stack.enter_context(Ledger(ledger_path(settings, settings.collection)))
        run = RecordedRun(settings, ledger=ledger, began=began)
        with _summed_up(run, reporter=reporter), run.under_way():
            question = _question_of(settings)
            inputs = check_inputs(
                settings,
                skip_bad_files=settings.on_bad_file == "skip",
                known_files=ledger.files.by_name(),
            )
            give_back()
            store = stack.enter_context(open_job_store(settings))
            arrangement = arrangement_of(settings)
            store.versions.indexes.check(arrangement, carried=inputs.source.carried_columns)
            target = target_of(
                inputs, store=store, rebuild=settings.rebuild, once_live=ledger.once_live()
            )
            plan = plan_within_limits(inputs, ledger=ledger, store=store, target=target)
            kept = stack.enter_context(
                kept_vectors(
                    inputs, target=target, ledger=ledger, store=store, tell=reporter.notice
                )
            )
            target = made_of_kept(target, kept)
            if target.contract.canaries and not target.exists:
                # Perhaps nothing calls for a server, with whose first vectors others are created.
                create_target(
                    store.versions,
                    settings.collection,
                    target,
                    contract=target.contract,
                    arrangement=arrangement,
                )
                target = replace(target, exists=True)
            elif target.exists:
                _compare_indexes(settings, store=store, version=target.name, reporter=reporter)
            if target.contract.splitter != SPLITTER_VERSION:
                reporter.notice(
                    f"{target.name} was begun with other rules for cuts"
                    f" ({target.contract.splitter}) than today's ({SPLITTER_VERSION}): documents"
                    " stay as they are until their text changes; --rebuild cuts all anew"
                )
            if target.vectors_of is not None:
                reporter.notice(
                    f"{target.name} takes over the vectors of equal texts from {target.vectors_of}"
                )
            job = open_job(inputs, ledger=ledger, store=store, target=target)
            keep_made(ledger, target)
            done = _bring_in_step(job, kept=kept, run=run, question=question, reporter=reporter)
            keep_prediction(
                inputs,
                ledger=ledger,
                run=run.id,
                version=target.name,
                done=done,
                began=began,
                plan=plan,
            )
        return _conclude(run, settings=settings, reporter=reporter)


def _question_of(settings: JobSettings) -> "QualityQuestion | None":
    """Return what the job's versions are judged by; most jobs need not import what judges."""
    if settings.quality_queries is None:
        return None
    from embed_index.jobs.evaluation.judging import QualityQuestion

    return QualityQuestion.of(settings)


def _compare_indexes(
    settings: JobSettings, *, store: MilvusStore, version: str, reporter: Reporter
) -> None:
    """Say where a collection has other indexes than the job wants; it is no reason to stop."""
    wanted, made = arrangement_of(settings), store.versions.indexes.read(version)
    if made.vectors is not None and made.changes_to(wanted, embedded=store.is_embedded):
        reporter.notice(
            f"{version} has the index {made}, and the job wants {wanted}; `embed-index reindex"
            f" {settings.collection}` with this job gives it that one"
        )


def _bring_in_step(
    job: OpenJob,
    *,
    kept: KeptReader | None,
    run: RecordedRun,
    question: "QualityQuestion | None",
    reporter: Reporter,
) -> IndexingPass:
    """Index the corpus, then settle what only is known after a pass over all of it."""
    store, target = job.store, job.target
    corpus, limit = job.inputs.source, job.inputs.settings.limit
    if limit is None:
        age = timedelta(days=job.inputs.settings.retry_after_days)
        old = job.ledger.dead_letters.open(target.name, last_seen_before=datetime.now(UTC) - age)
        begin_again((known.letter for known in old), ledger=job.documents)
        run.tally.num_files = len(corpus.files)
    alias = job.inputs.settings.collection
    gate = None
    if question is not None and limit is None:
        from embed_index.jobs.evaluation.gate import QualityGate

        gate = QualityGate(question, inputs=job.inputs, store=store, ledger=job.ledger, run=run.id)
    num_documents = corpus.num_rows if limit is None else min(limit, corpus.num_rows)
    # How many rows meet a condition is known once all are read.
    run.num_documents = None if job.inputs.settings.where else num_documents
    indexing = IndexingPass(
        job,
        run=run,
        source=corpus if limit is None else FirstDocuments(corpus, limit),
        num_documents=num_documents,
        find_vectors=_vector_finder(job, kept=kept),
        reporter=reporter,
        quality=gate,
    )

    def admit() -> None:
        if gate is not None and not job.inputs.settings.ungated:
            gate.admit(target.name, collection=alias)

    def settle_collection() -> None:
        settle(
            indexing.flow,
            ledger=job.ledger,
            documents=job.documents,
            store=store,
            target=target,
            alias=alias,
            run=run.id,
            tally=run.tally,
            deletion=job.deletion_limits,
            canaries=indexing.canaries,
            admit=admit,
        )
        if gate is not None:
            gate.watch(target.name)

    def keep_what_was_read() -> None:
        if store.versions.exists(target.name):
            store.flush(target.name)

    try:
        indexing.run(settle=settle_collection if limit is None else keep_what_was_read)
    finally:
        for notice in gate.notices if gate is not None else ():
            reporter.notice(notice)
    return indexing


def _vector_finder(job: OpenJob, *, kept: KeptReader | None) -> VectorFinder:
    """Return what finds vectors in the target, in the version whose it takes over, or kept ones."""
    reader, target = job.store.reader, job.target
    in_target = partial(
        find_vectors,
        reader=reader,
        version=target.name,
        ledger=job.documents,
        contract=target.contract,
    )
    if kept is not None:
        return or_kept(in_target, kept.find)
    if target.vectors_of is None:
        return in_target
    in_live = partial(
        find_vectors_by_text, reader=reader, version=target.vectors_of, contract=target.contract
    )
    return lambda documents: in_live(documents) | in_target(documents)


@contextmanager
def _summed_up(run: RecordedRun, *, reporter: Reporter) -> Iterator[None]:
    """Report what a run did before it failed or was stopped in this context, if anything."""
    try:
        yield
    except BaseException as error:
        if run.tally.num_documents_read:
            reporter.finished(run.summary(is_early=True), failure=first_cause(error))
        raise


def _conclude(run: RecordedRun, *, settings: JobSettings, reporter: Reporter) -> RunSummary:
    """Record and report a run that came to its end, with however many dead letters."""
    summary = run.summary()
    failure = _too_many(summary, limit=settings.max_dead_letters)
    if failure is None:
        run.finish("done" if settings.limit is None else "partial")
    else:
        run.finish("dead_letters", code=exit_code(failure), error=failure.message)
    reporter.finished(summary, failure=failure)
    if failure is not None:
        raise failure
    return summary


def _too_many(summary: RunSummary, *, limit: str) -> DeadLetterLimitError | None:
    message = excess_of_letters(
        summary.num_dead_letters, num_rows=summary.num_documents_read, limit=limit
    )
    if not message:
        return None
    return DeadLetterLimitError(
        message,
        remedy=f"`embed-index letters {summary.collection}` shows them by reason, and `embed-index"
        f" retry` tries them again; they are in {summary.dead_letters_file}, too. Or raise"
        " --max-dead-letters.",
    )
