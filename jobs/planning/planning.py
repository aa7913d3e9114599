"""A corpus counted against its ledger, and its time and space worked out."""

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from embed_index.jobs.adapters.arrangement import arrangement_of
from embed_index.jobs.adapters.inputs import JobInputs, look_at_inputs
from embed_index.jobs.adapters.places import existing_ledger
from embed_index.jobs.planning.here import Pace, device_here, pace_on, weights_fit
from embed_index.jobs.planning.plan import DeviceTime, LengthBin, Obstacle, Plan
from embed_index.jobs.planning.refusals import contract_failure, refusal_of, refusals_of
from embed_index.pipeline.corpus.source import FirstDocuments
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.address import parse_address
from embed_index.pipeline.planning.counting import Count, count_work
from embed_index.pipeline.planning.devices import USUAL, Device, find_device
from embed_index.pipeline.planning.prediction import expect
from embed_index.pipeline.planning.sampling import Estimate, SampleSize
from embed_index.pipeline.planning.storage import Storage, storage_of
from embed_index.pipeline.planning.workload import BIN_ENDS
from embed_index.pipeline.versions.made import find_made
from embed_index.pipeline.versions.target import gives_vectors
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.precision import FP8
from embed_index.schemas.settings import JobSettings

_SECONDS_PER_HOUR = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWish:
    """What a plan is to say beyond the job."""

    sample: SampleSize | None = None
    seed: int = 0
    devices: Sequence[Device] = ()
    """Beside this host."""


def read_wish(*, sample: str | None, seed: int, gpus: Sequence[str]) -> PlanWish:
    """Read what a user asks for.

    Args:
        sample: A share such as `0.01` or `1%`, or a count such as `5000`; None for all.
        seed: Draws another sample.
        gpus: Such as `L4` or `8xH100`; empty for the usual ones.

    Raises:
        ConfigurationError: It is not of that kind.
    """
    return PlanWish(
        sample=None if sample is None else _read_sample(sample),
        seed=seed,
        devices=tuple(find_device(gpu) for gpu in gpus or USUAL),
    )


def _read_sample(text: str) -> SampleSize:
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / (100 if number != text.strip() else 1)
    except ValueError:
        value = math.nan
    if 0 < value < 1 or (value == 1 and number != text.strip()):
        return SampleSize(share=value)
    if value >= 1 and number.isdecimal():
        return SampleSize(num_documents=int(number))
    raise ConfigurationError(
        f"sample: {text!r} is neither a share of the documents nor a number of them",
        remedy="Give a share such as 0.01 or 1%, or a count such as 5000.",
    )


def plan_job(settings: JobSettings, wish: PlanWish) -> Plan:
    """Read a job's corpus and ledger and say what a run would do; nothing is written or started.

    Raises:
        ConfigurationError: A setting, a file or a column is unusable.
        UnavailableError: A file was changed while it was read, or the ledger cannot be read.
    """
    began = time.monotonic()
    inputs = look_at_inputs(settings, skip_bad_files=settings.on_bad_file == "skip")
    with ExitStack() as stack:
        path = existing_ledger(settings, settings.collection) if settings.collection else None
        ledger = None if path is None else stack.enter_context(Ledger(path))
        if ledger is not None:
            stack.enter_context(ledger.snapshot())
        plan = _plan_against(ledger, inputs=inputs, wish=wish)
    return replace(plan, planning_seconds=time.monotonic() - began)


def _plan_against(ledger: Ledger | None, *, inputs: JobInputs, wish: PlanWish) -> Plan:
    """Return the plan of a run, or of the rebuild that is left where the run would be refused."""
    if ledger is None:
        return plan_of(inputs, ledger=None, documents=None, wish=wish)
    settings = inputs.settings
    live = documents_to_compare(ledger, settings=settings.model_copy(update={"rebuild": False}))
    made = None if live is None else find_made(ledger, live.version)
    if live is None or made is None:
        documents = documents_to_compare(ledger, settings=settings)
        plan = plan_of(inputs, ledger=ledger, documents=documents, wish=wish)
        return replace(plan, is_contract_known=live is None)
    inputs.source.adopt_types(
        [column for column in made.carried if not (settings.rebuild and column.type == "text")]
    )
    failure = None
    if not settings.rebuild:
        failure = contract_failure(made, inputs=inputs, version=live.version)
    if failure is not None:
        inputs = replace(inputs, settings=settings.model_copy(update={"rebuild": True}))
    documents = live
    if inputs.settings.rebuild and not gives_vectors(
        made.contract,
        made.carried,
        wanted=inputs.contract(),
        carried=inputs.source.carried_columns,
    ):
        documents = _begun_rebuild(ledger, inputs=inputs, live=live.version)
    plan = plan_of(inputs, ledger=ledger, documents=documents, wish=wish)
    if failure is None:
        return plan
    return replace(plan, refusals=(refusal_of(failure), *plan.refusals))


def _begun_rebuild(ledger: Ledger, *, inputs: JobInputs, live: str) -> DocumentLedger | None:
    """Return the documents of an unfinished version, if it was begun as the job would make it."""
    documents = documents_to_compare(ledger, settings=inputs.settings)
    if documents is None or documents.version == live:
        return None
    made = find_made(ledger, documents.version)
    is_alike = (
        made is None or contract_failure(made, inputs=inputs, version=documents.version) is None
    )
    return documents if is_alike else None


def documents_to_compare(ledger: Ledger, *, settings: JobSettings) -> DocumentLedger | None:
    """Return the documents of the version that a run would write to, as far as the ledger knows.

    Searches see the version that was written to last, unless somebody promoted another one since.
    A rebuild goes on with one that is unfinished, or begins anew.
    """
    versions, once_live = list(ledger.versions()), ledger.once_live()
    if settings.rebuild and once_live:
        is_unfinished = bool(versions) and versions[-1] not in once_live
        return ledger.find_documents(versions[-1]) if is_unfinished else None
    written = (run.version for run in ledger.runs.latest())
    live = next((name for name in written if name in once_live & set(versions)), None)
    name = live or (versions[-1] if versions else None)
    return None if name is None else ledger.find_documents(name)


def plan_of(
    inputs: JobInputs, *, ledger: Ledger | None, documents: DocumentLedger | None, wish: PlanWish
) -> Plan:
    """Return the plan of a job that is open.

    Args:
        inputs: Of the job.
        ledger: Of its collection, for what past runs took.
        documents: What the corpus is compared with; None where all of it is new.
        wish: Sample and devices.
    """
    settings, corpus = inputs.settings, inputs.source
    limit = settings.limit
    count = count_work(
        corpus if limit is None else FirstDocuments(corpus, limit),
        splitter=inputs.splitter,
        documents=documents,
        sample=wish.sample,
        seed=wish.seed,
        is_whole=limit is None,
    )
    devices = [device_here(settings), *wish.devices]
    paces = [
        pace_on(device, settings=settings, model=inputs.model, ledger=ledger) for device in devices
    ]
    work = count.work
    return Plan(
        collection=settings.collection,
        compared_with=None if documents is None else documents.version,
        rebuilds=settings.rebuild,
        is_contract_known=True,
        model=inputs.model.name,
        dimension=inputs.dimension,
        max_tokens=settings.max_tokens,
        num_files=len(corpus.files),
        num_rows=corpus.num_rows,
        documents=count.documents,
        num_sampled=work.num_sampled,
        chunks=work.chunks,
        tokens=work.tokens,
        kept_chunks=work.kept_chunks,
        kept_tokens=work.kept_tokens,
        chunk_lengths=_length_bins(work.histogram()),
        deletes_missing=settings.delete_missing,
        refusals=refusals_of(count.documents, inputs=inputs, ledger=ledger),
        storage=_storage(count, inputs=inputs, documents=documents),
        times=tuple(_time_on(pace, count, inputs=inputs) for pace in paces),
        price_per_gpu_hour=settings.price_per_gpu_hour,
        planning_seconds=0.0,
    )


def _length_bins(counts: Sequence[float]) -> tuple[LengthBin, ...]:
    used = [place for place, count in enumerate(counts) if count > 0]
    if not used:
        return ()
    begins = (1, *(end + 1 for end in BIN_ENDS))
    return tuple(
        LengthBin(
            min_tokens=begins[place], max_tokens=BIN_ENDS[place], num_chunks=max(counts[place], 0.0)
        )
        for place in range(used[0], used[-1] + 1)
    )


def _storage(count: Count, *, inputs: JobInputs, documents: DocumentLedger | None) -> Storage:
    settings, found = inputs.settings, count.documents
    rows_now = 0 if documents is None else documents.counts().num_chunks
    written = round(count.work.all_chunks.value)
    gone = found.num_missing_chunks if settings.delete_missing else 0
    return storage_of(
        rows_now=rows_now,
        rows_written=written + count.refreshed_chunks,
        rows_after=max(0, rows_now + written - count.replaced_chunks - gone),
        num_documents=found.num_read - found.num_unusable,
        text_bytes=found.text_bytes,
        other_bytes=found.other_bytes,
        dimension=inputs.dimension,
        index=arrangement_of(settings).vectors,
        vector_type=settings.vector_type,
        embedded=parse_address(settings.milvus_uri).embedded_path is not None,
    )


def _time_on(pace: Pace, count: Count, *, inputs: JobInputs) -> DeviceTime:
    device, curve, experience = pace.device, pace.curve, pace.experience
    time_ = DeviceTime(
        device=device.name,
        count=device.count,
        is_here=device.is_here,
        precision=pace.precision,
        basis="own runs" if curve is None else curve.basis,
        how="" if curve is None else curve.how,
        num_past_runs=experience.num_runs,
        pace=experience.pace,
        is_start_assumed=experience.start_seconds is None,
        obstacle=_obstacle(pace, inputs=inputs),
    )
    if curve is None or time_.obstacle:
        return time_
    expected = expect(
        count.work.workload,
        curve=curve,
        device=device,
        experience=experience,
        start_seconds=pace.start_seconds,
        text_bytes=count.documents.text_bytes,
    )
    if expected is None:
        return replace(time_, obstacle="unknown")
    gpu = count.work.gpu_seconds(curve)
    error = expected.embedding * gpu.error / gpu.value if gpu.value else 0.0
    hours = device.count * expected.total / _SECONDS_PER_HOUR if expected.embedding else 0.0
    price = inputs.settings.price_per_gpu_hour
    return replace(
        time_,
        start_seconds=expected.start,
        embedding_seconds=Estimate(value=expected.embedding, error=error),
        total_seconds=Estimate(value=expected.total, error=error),
        gpu_hours=hours if device.is_gpu else None,
        cost=None if price is None or not device.is_gpu else hours * price,
    )


def _obstacle(pace: Pace, *, inputs: JobInputs) -> Obstacle:
    kind = pace.device.kind
    if kind is not None and pace.precision == FP8 and not kind.has_fp8:
        return "no fp8"
    if not weights_fit(pace, model=inputs.model):
        return "too small"
    return "unknown" if pace.curve is None else ""
