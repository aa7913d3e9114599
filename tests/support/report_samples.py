"""Contents of reports that nobody had to run anything for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from embed_index.pipeline.report.contents import (
    Lengths,
    LetterExample,
    LetterGroup,
    ReportContents,
    ReportedQuality,
    ReportedRun,
    StoredPart,
)
from embed_index.pipeline.report.map import MappedChunk, draw_map, excerpt
from embed_index.pipeline.report.pace import Pace, PacePoint
from embed_index.schemas.summary import RunCounters

NOW = datetime(2026, 1, 30, 3, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script></script><!--\u2028'\"&<img src=x onerror=alert(2)>"


def reported_run(number: int, **more: object) -> ReportedRun:
    """One of a row of nights."""
    started = NOW - timedelta(days=30 - number)
    counters = RunCounters(
        num_documents_read=50_000,
        num_new=10 * number,
        num_changed=number,
        num_unchanged=50_000 - 11 * number,
        num_tokens=400_000 + number,
        seconds=100.0,
    )
    run = ReportedRun(
        id=number,
        version="docs_v1",
        started_at=started,
        finished_at=started + timedelta(seconds=100),
        outcome="done",
        exit_code=0,
        error="",
        counters=counters,
    )
    return replace(run, **more)  # type: ignore[arg-type]


def judged(number: int, ndcg: float, **more: object) -> ReportedQuality:
    """One evaluation of a version, each a day after the one before."""
    made = ReportedQuality(
        version=f"docs_v{number}",
        at=NOW + timedelta(days=number),
        num_queries=200,
        ndcg=ndcg,
        low=ndcg - 0.03,
        high=ndcg + 0.03,
        is_held=False,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def contents(**more: object) -> ReportContents:
    """A collection with thirty nights behind it."""
    runs = tuple(reported_run(number) for number in range(30, 0, -1))
    points = tuple(PacePoint(10.0 * n, 40_000 * n, 60 * n) for n in range(1, 11))
    made = ReportContents(
        collection="docs",
        version="docs_v1",
        made_at=NOW,
        runs=runs,
        last_success=runs[0],
        num_documents=50_000,
        num_chunks=120_000,
        num_pending=0,
        pace=Pace(points=points, phase_seconds={"embedding": 90.0, "server_idle": 10.0}),
        pace_run=runs[0],
        letters=(
            LetterGroup(
                reason="null_text",
                num_letters=7,
                examples=(
                    LetterExample(
                        doc_id=HOSTILE, place="a#0:1", detail=HOSTILE, attempts=2, first_seen=NOW
                    ),
                ),
            ),
        ),
        stored=(
            StoredPart(name="vectors", num_bytes=10**9, basis="computed", where="milvus"),
            StoredPart(name="ledger", num_bytes=10**6, basis="measured", where="disk"),
        ),
        made_with={"model": "a/model", "dimension": "64"},
        lengths=Lengths(num_tokens=tuple(range(1, 513)), max_tokens=512),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def with_map(num_chunks: int, *, text: str = "Chunk {} speaks of pumps.") -> ReportContents:
    """The same with a map of so many chunks in three clusters, coloured by their kind."""
    rng = np.random.default_rng(0)
    kinds = [n % 3 for n in range(num_chunks)]
    centres = 4 * rng.standard_normal((3, 32))
    vectors = (centres[kinds] + rng.standard_normal((num_chunks, 32))).astype(np.float32)
    chunks = [
        MappedChunk(
            doc_id=f"document-{n}",
            chunk_index=0,
            num_chunks=2,
            num_tokens=100 + n,
            text=excerpt(text.replace("{}", str(n))),
            value=("pump", "valve", HOSTILE)[kind],
        )
        for n, kind in enumerate(kinds)
    ]
    return contents(map=draw_map(chunks, vectors, column="kind", num_rows=10 * num_chunks))
