"""The page of a plan, for people and for programs."""

import json
from collections.abc import Iterator
from dataclasses import asdict

from embed_index.jobs.planning.plan import DeviceTime, Plan
from embed_index.pipeline.planning.sampling import Estimate
from embed_index.schemas.counts import counted

_BAR_CHARS = 30
_MINUTE, _HOUR = 60.0, 3_600.0
_OBSTACLES = {
    "no fp8": "has no fp8 arithmetic",
    "too small": "has no room for the model's weights",
    "unknown": "nothing is known of its speed yet; a run of five seconds or more will tell",
}


def as_text(plan: Plan) -> str:
    """Return one page: what there is, what would be done, how long it takes; last, in a line."""
    facts = [
        ("corpus", _corpus(plan)),
        ("compared", _compared(plan)),
        ("documents", _documents(plan)),
        *((("dead letters", _dead_letters(plan)),) if plan.documents.num_dead_letters else ()),
        ("to embed", _to_embed(plan)),
        *((("sample", _sample(plan)),) if plan.num_sampled is not None else ()),
        *zip(("chunk tokens", *[""] * len(plan.chunk_lengths)), _bars(plan), strict=False),
        ("in Milvus", _rows(plan)),
        ("", _bytes(plan)),
        *zip(("time", *[""] * len(plan.times)), _times(plan), strict=False),
    ]
    for refusal in plan.refusals:
        facts += [(f"ends with {refusal.exit_code}", refusal.message), ("", refusal.remedy)]
    lines = [f"{name:<12}  {text}".rstrip() for name, text in facts]
    return "\n".join([*lines, "", _conclusion(plan)])


def as_json(plan: Plan) -> str:
    """Return one JSON object with the fields of `Plan`."""
    return json.dumps(asdict(plan), ensure_ascii=False, indent=2)


def _corpus(plan: Plan) -> str:
    found = plan.documents
    skipped = found.num_files_skipped
    but = f", {skipped:,} of which cannot be read" if skipped else ""
    return (
        f"{counted(found.num_read, 'row')} in {counted(plan.num_files, 'file')}{but},"
        f" {_size(found.text_bytes)} of text"
    )


def _compared(plan: Plan) -> str:
    if plan.compared_with is None and plan.rebuilds:
        return "with nothing: the rebuild begins anew"
    if plan.compared_with is None:
        return "with nothing: there is no ledger to compare with, so everything is new"
    known = "" if plan.is_contract_known else "; how it was made shows in its next run"
    return f"with {plan.compared_with}, as the ledger has it; Milvus was not asked{known}"


def _documents(plan: Plan) -> str:
    found = plan.documents
    parts = [
        f"{found.num_new:,} new",
        f"{found.num_changed:,} changed",
        f"{found.num_unchanged:,} unchanged",
        f"{found.num_refreshed:,} to refresh",
    ]
    if found.num_missing is None:
        parts.append("missing not known")
    elif found.num_missing:
        parts.append(f"{found.num_missing:,} missing ({_fate(plan)})")
    if found.num_repeated:
        parts.append(f"{found.num_repeated:,} repeated")
    return ", ".join(parts)


def _dead_letters(plan: Plan) -> str:
    found = plan.documents
    parts = (
        (found.num_duplicate_ids, "of an id that came before"),
        (found.num_unusable, "unusable"),
        (found.num_files_skipped, "files that cannot be read"),
    )
    reasons = ", ".join(f"{count:,} {reason}" for count, reason in parts if count)
    return f"{found.num_dead_letters:,} at least: {reasons}"


def _to_embed(plan: Plan) -> str:
    text = f"{_some(plan.chunks, 'chunk')}, {_some(plan.tokens, 'token')}"
    if plan.kept_chunks.value >= 1:
        kept = f"{_some(plan.kept_chunks, 'chunk')}, {_some(plan.kept_tokens, 'token')}"
        text += f"; {kept} of changed documents are kept"
    return text


def _sample(plan: Plan) -> str:
    to_cut = plan.documents.num_new + plan.documents.num_changed
    return (
        f"{plan.num_sampled:,} of {to_cut:,} new and changed documents were cut; the truth is"
        f" within ± with {plan.confidence:.0%} confidence"
    )


def _bars(plan: Plan) -> Iterator[str]:
    if not plan.chunk_lengths:
        yield "no chunks"
        return
    largest = max(bin_.num_chunks for bin_ in plan.chunk_lengths)
    for bin_ in plan.chunk_lengths:
        length = f"{bin_.min_tokens:,} to {bin_.max_tokens:,}"
        bar = "#" * max(round(_BAR_CHARS * bin_.num_chunks / largest), bin_.num_chunks > 0)
        yield f"{length:>16}  {bar:<{_BAR_CHARS}}  {bin_.num_chunks:,.0f}"


def _rows(plan: Plan) -> str:
    storage = plan.storage
    return (
        f"{counted(storage.rows_after, 'row')}, {storage.rows_now:,} now;"
        f" {storage.rows_written:,} written"
    )


def _bytes(plan: Plan) -> str:
    storage = plan.storage
    return (
        f"vectors {_size(storage.vector_bytes)}, text {_size(storage.text_bytes)}, other fields"
        f" {_size(storage.field_bytes)}, index {_size(storage.index_bytes)}; uncompressed"
    )


def _times(plan: Plan) -> Iterator[str]:
    width = max(len(_device(time)) for time in plan.times)
    for time in plan.times:
        yield f"{_device(time):<{width}}  {_time(time)}"


def _device(time: DeviceTime) -> str:
    count = f"{time.count} x " if time.count > 1 else ""
    return f"{count}{time.device}{' (here)' if time.is_here else ''}"


def _time(time: DeviceTime) -> str:
    if time.obstacle or time.total_seconds is None:
        return _OBSTACLES[time.obstacle or "unknown"]
    parts = [f"{_span(time.total_seconds.value):>9}"]
    if time.gpu_hours is not None:
        parts.append(f"{time.gpu_hours:,.2f} GPU-hours")
    if time.cost is not None:
        parts.append(f"costs {time.cost:,.2f}")
    return f"{', '.join(parts)}; {_grounds(time)}"


def _grounds(time: DeviceTime) -> str:
    """Say what a time rests on."""
    runs = counted(time.num_past_runs, "run")
    if time.basis == "own runs":
        return f"from {runs} here, nothing else is known of it"
    start = f", start of {_span(time.start_seconds or 0)} assumed" if time.is_start_assumed else ""
    corrected = "" if time.pace is None else f", times {time.pace:.2f} by {runs} here"
    word = "" if time.basis == "measured" else "estimate: "
    return f"{word}{time.how}{corrected}{start if time.start_seconds else ''}"


def _conclusion(plan: Plan) -> str:
    found = plan.documents
    parts = [f"{found.num_new:,} to add", f"{found.num_changed:,} to change"]
    if found.num_refreshed:
        parts.append(f"{found.num_refreshed:,} to refresh")
    if found.num_missing is not None:
        parts.append(f"{found.num_missing if plan.deletes_missing else 0:,} to delete")
    how = "with --rebuild " if plan.rebuilds else ""
    tokens = f"{_some(plan.tokens, 'token')} to embed"
    return f"Plan: {how}{', '.join(parts)}; {tokens}. Nothing was done."


def _fate(plan: Plan) -> str:
    return "to delete" if plan.deletes_missing else "kept"


def _estimate(estimate: Estimate) -> str:
    if not estimate.error:
        return f"{estimate.value:,.0f}"
    share = estimate.error / estimate.value if estimate.value else 0.0
    return f"{estimate.value:,.0f} (± {share:.2%})"


def _some(estimate: Estimate, noun: str) -> str:
    is_one = not estimate.error and round(estimate.value) == 1
    return f"{_estimate(estimate)} {noun}{'' if is_one else 's'}"


def _span(seconds: float) -> str:
    if seconds < 2 * _MINUTE:
        return f"{seconds:,.0f} s"
    return f"{seconds / _MINUTE:,.1f} min" if seconds < 2 * _HOUR else f"{seconds / _HOUR:,.1f} h"


def _size(num_bytes: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:,.1f} {name}"
    return f"{num_bytes:,.0f} bytes"
