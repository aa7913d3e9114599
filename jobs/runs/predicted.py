"""A run's prediction: held against its limits before it begins, kept when it is over."""

import time
from dataclasses import asdict

from embed_index.jobs.adapters.inputs import JobInputs
from embed_index.jobs.planning.here import device_here, pace_on
from embed_index.jobs.planning.limits import check_limits, has_limits
from embed_index.jobs.planning.page import as_text
from embed_index.jobs.planning.plan import Plan
from embed_index.jobs.planning.planning import PlanWish, plan_of
from embed_index.jobs.runs.indexing_pass import IndexingPass
from embed_index.pipeline.audit.ledger_rebuild import open_documents
from embed_index.pipeline.disk.heap import give_back
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.planning.prediction import Prediction, expect
from embed_index.pipeline.versions.target import TargetVersion
from embed_index.schemas.errors import ConfigurationError


def plan_within_limits(
    inputs: JobInputs, *, ledger: Ledger, store: MilvusStore, target: TargetVersion
) -> Plan | None:
    """Plan the run where its job has limits, which reads and cuts the corpus once more.

    Returns:
        None where there are no limits.

    Raises:
        ConfigurationError: The run would exceed them; the plan comes with it.
    """
    settings = inputs.settings
    if not has_limits(settings):
        return None
    documents = _documents(ledger, store=store, target=target, inputs=inputs)
    plan = plan_of(inputs, ledger=ledger, documents=documents, wish=PlanWish())
    give_back()
    try:
        check_limits(plan, settings)
    except ConfigurationError as failure:
        failure.add_note(as_text(plan))
        raise
    return plan


def _documents(
    ledger: Ledger, *, store: MilvusStore, target: TargetVersion, inputs: JobInputs
) -> DocumentLedger | None:
    if target.vectors_of is not None:
        # Equal texts get its vectors, whatever the new version holds by now.
        return ledger.find_documents(target.vectors_of)
    if not target.exists:
        return None
    folder = inputs.settings.state_dir
    return open_documents(ledger, target, reader=store.reader, folder=folder)


def keep_prediction(
    inputs: JobInputs,
    *,
    ledger: Ledger,
    run: int,
    version: str,
    done: IndexingPass,
    began: float,
    plan: Plan | None,
) -> None:
    """Put down what a run was expected to take, beside what it took; one without work leaves none.

    Args:
        inputs: Of the job.
        ledger: Has what past runs took, and not yet this one.
        run: Number of the run.
        version: That it wrote to.
        done: Its pass, over.
        began: `time.monotonic()` when the command began.
        plan: Made before it, if any.
    """
    work = done.work
    if not work.num_chunks:
        return
    settings = inputs.settings
    pace = pace_on(device_here(settings), settings=settings, model=inputs.model, ledger=ledger)
    if pace.curve is None:
        return
    expected = expect(
        work,
        curve=pace.curve,
        device=pace.device,
        experience=pace.experience,
        start_seconds=pace.start_seconds,
        text_bytes=done.flow.text_bytes,
    )
    prediction = Prediction(
        **asdict(pace.setup),
        basis=pace.curve.basis,
        num_past_runs=pace.experience.num_runs,
        num_chunks=int(work.num_chunks),
        num_tokens=int(work.num_tokens),
        sum_of_squares=int(work.sum_of_squares),
        curve_seconds=pace.curve.seconds(work, count=pace.device.count),
        expected_start_seconds=None if expected is None else expected.start,
        expected_embedding_seconds=None if expected is None else expected.embedding,
        expected_total_seconds=None if expected is None else expected.total,
        start_seconds=done.start_seconds,
        embedding_seconds=done.embedding_seconds,
        total_seconds=time.monotonic() - began,
        planned_tokens=None if plan is None else round(plan.tokens.value),
    )
    ledger.figures.record("prediction", version=version, content=prediction.to_json(), run_id=run)
