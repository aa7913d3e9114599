"""Leaves metrics of a run behind, however it ended."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from embed_index.jobs.adapters.places import existing_ledger, milvus_place
from embed_index.jobs.cli.failures import exit_code, first_cause
from embed_index.pipeline.evaluation.history import last_in_a_run
from embed_index.pipeline.evaluation.quality import Quality
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.report.metrics import RunMetrics, render_metrics
from embed_index.pipeline.report.placing import READABLE_BY_ALL, check_place, put_in_place
from embed_index.schemas.errors import EmbedIndexError
from embed_index.schemas.settings import JobSettings
from embed_index.schemas.summary import RunCounters


@contextmanager
def leaving_metrics(settings: JobSettings) -> Iterator[None]:
    """Write the metrics file, if there is to be one, when the enclosed run is over.

    Raises:
        ConfigurationError: The file cannot be where it should be; nothing was started.
        UnavailableError: It could not be written after a run that went well.
    """
    path = settings.metrics_file
    if path is None:
        yield
        return
    check_place(path, setting="metrics_file")
    began, started_at = time.monotonic(), datetime.now(UTC)
    try:
        yield
    except BaseException as error:
        metrics = _gather(
            settings,
            started_at=started_at,
            seconds=time.monotonic() - began,
            code=exit_code(error),
        )
        try:
            _put(path, metrics)
        except EmbedIndexError as second:
            # What ended the run is what people must read first.
            first_cause(error).add_note(second.message)
        raise
    metrics = _gather(settings, started_at=started_at, seconds=time.monotonic() - began, code=0)
    _put(path, metrics)


def _put(path: Path, metrics: RunMetrics) -> None:
    put_in_place(path, render_metrics(metrics), setting="metrics_file", mode=READABLE_BY_ALL)


def _gather(
    settings: JobSettings, *, started_at: datetime, seconds: float, code: int
) -> RunMetrics:
    unrecorded = RunMetrics(
        collection=settings.collection,
        milvus=milvus_place(settings),
        finished_at=datetime.now(UTC),
        last_success_at=None,
        exit_code=code,
        counters=RunCounters(seconds=seconds),
        num_documents=0,
        num_chunks=0,
        num_open_dead_letters=0,
    )
    path = existing_ledger(settings, settings.collection)
    if path is None:
        return unrecorded
    try:
        with Ledger(path) as ledger:
            return _with_ledger(unrecorded, ledger, started_at=started_at)
    except EmbedIndexError:
        # A damaged ledger has failed the run already, with a message of its own.
        return unrecorded


def _with_ledger(metrics: RunMetrics, ledger: Ledger, *, started_at: datetime) -> RunMetrics:
    last, success = ledger.runs.last(), ledger.runs.last_success()
    if success is not None:
        metrics = replace(metrics, last_success_at=success.finished_at)
    if last is None:
        return metrics
    # A run that failed early, or found the lock taken, has no record of its own.
    if last.origin.pid == os.getpid() and last.started_at >= started_at:
        metrics = replace(
            metrics, counters=replace(last.counters, seconds=metrics.counters.seconds)
        )
    # One that failed early had not chosen a version; the one before it had.
    version = next((run.version for run in ledger.runs.latest() if run.version), "")
    documents = ledger.find_documents(version)
    if documents is None:
        return metrics
    counts = documents.counts()
    judged = last_in_a_run(ledger, version)
    if judged is not None:
        metrics = replace(
            metrics,
            ndcg=Quality.from_json(judged.content).ndcg,
            judged_at=judged.recorded_at,
        )
    return replace(
        metrics,
        num_documents=counts.num_documents - counts.num_pending,
        num_chunks=counts.num_chunks,
        num_open_dead_letters=ledger.dead_letters.count(version),
    )
