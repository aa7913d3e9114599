"""Writes what an audit found, for people and for programs."""

import json

from embed_index.jobs.collections.text import one_line
from embed_index.schemas.audit_findings import (
    MEANINGS,
    AuditReport,
    DriftCount,
    DriftKind,
    Finding,
    Verification,
)
from embed_index.schemas.counts import counted


def verification_as_text(verification: Verification) -> str:
    """Return the counts, then each kind of drift with its first examples."""
    lines = _report_as_lines(verification.found)
    after = verification.after_repair
    if verification.ledger_rebuilt:
        lines.insert(0, "the ledger was lost, and was rebuilt from Milvus")
    if after is not None:
        num_embedded = verification.num_chunks_embedded
        lines += ["", f"repaired, {counted(num_embedded, 'chunk')} embedded; afterwards:"]
        lines += _report_as_lines(after)
    return "\n".join(lines)


def verification_as_json(verification: Verification) -> str:
    """Return one JSON object; the drift is what is left after a repair."""
    after = verification.after_repair
    return json.dumps(
        {
            **_report_as_fields(verification.found),
            "ledger_rebuilt": verification.ledger_rebuilt,
            "repaired": after is not None,
            "num_chunks_embedded": verification.num_chunks_embedded,
            "after_repair": None if after is None else _report_as_fields(after),
        },
        ensure_ascii=False,
        indent=2,
    )


def drift_in_words(report: AuditReport) -> str:
    """Return the kinds of drift with their numbers on one line."""
    return ", ".join(f"{drift.count:,} {kind}" for kind, drift in report.drift.items())


def _report_as_lines(report: AuditReport) -> list[str]:
    facts = [
        ("collection", f"{report.collection} ({report.version})"),
        ("documents", f"{report.num_documents:,}"),
        ("chunks", f"{report.num_chunks:,} wanted, {counted(report.num_rows, 'row')} in Milvus"),
        ("vectors", f"{report.num_sampled:,} made again and compared"),
        ("dead letters", f"{report.num_dead_letters:,}"),
        ("drift", drift_in_words(report) or "none"),
    ]
    if report.num_retained:
        kept = f"{counted(report.num_retained, 'document')} that the corpus no longer has"
        facts.insert(-1, ("retained", f"{kept} (delete_missing is off)"))
    lines = [f"{name:<13} {text}" for name, text in facts]
    for kind, drift in report.drift.items():
        lines += _drift_as_lines(kind, drift)
    return lines


def _drift_as_lines(kind: DriftKind, drift: DriftCount) -> list[str]:
    lines = [f"{kind}: {drift.count:,} ({MEANINGS[kind]})"]
    lines += [f"  {_finding_as_text(finding)}" for finding in drift.examples]
    num_more = drift.count - len(drift.examples)
    return [*lines, f"  and {num_more:,} more"] if num_more else lines


def _finding_as_text(finding: Finding) -> str:
    document = f"document {one_line(finding.doc_id)}"
    return document if finding.chunk_id is None else f"{one_line(finding.chunk_id)}  {document}"


def _report_as_fields(report: AuditReport) -> dict[str, object]:
    return {
        "collection": report.collection,
        "version": report.version,
        "num_documents": report.num_documents,
        "num_chunks": report.num_chunks,
        "num_rows": report.num_rows,
        "num_sampled": report.num_sampled,
        "num_dead_letters": report.num_dead_letters,
        "num_retained": report.num_retained,
        "drift": {
            kind: {
                "count": drift.count,
                "examples": [
                    {"doc_id": finding.doc_id, "chunk_id": finding.chunk_id}
                    for finding in drift.examples
                ],
            }
            for kind, drift in report.drift.items()
        },
    }
