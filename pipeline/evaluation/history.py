"""How good versions were found to be, as the ledger keeps it; nothing here asks Milvus."""

from dataclasses import replace

from embed_index.pipeline.evaluation.quality import Quality, Verdict
from embed_index.pipeline.ledger.figures import Figures
from embed_index.pipeline.ledger.ledger import Ledger


def last_quality(
    ledger: Ledger, version: str, *, collection_id: str, fingerprint: str
) -> Quality | None:
    """Return how good a version was found to be last, for the very same queries; None for never.

    Args:
        ledger: Of the collection.
        version: The version's name.
        collection_id: The version's.
        fingerprint: Of the queries.
    """
    for figures in ledger.figures.latest(kind="quality"):
        if figures.version == version:
            quality = Quality.from_json(figures.content)
            if (quality.collection_id, quality.fingerprint) == (collection_id, fingerprint):
                return quality
    return None


def quality_of_run(ledger: Ledger, run: int) -> Quality | None:
    """Return how good a run's version was found to be in the run; None where it was not judged."""
    figures = ledger.figures.of_run(run, kind="quality")
    return None if figures is None else Quality.from_json(figures.content)


def last_in_a_run(ledger: Ledger, version: str) -> Figures | None:
    """Return what a run found last of a version, by its job's own queries; None for never."""
    return next(
        (
            figures
            for figures in ledger.figures.latest(kind="quality")
            if figures.version == version and figures.run_id is not None
        ),
        None,
    )


def record(
    ledger: Ledger,
    quality: Quality,
    *,
    version: str,
    verdict: Verdict = "",
    reason: str = "",
    run: int | None = None,
) -> None:
    """Keep how good a version was found to be."""
    judged = replace(quality, verdict=verdict, reason=reason)
    ledger.figures.record("quality", version=version, content=judged.to_json(), run_id=run)


def held_versions(ledger: Ledger) -> set[str]:
    """Return the versions that were filled to the end, and held back for their quality."""
    known = ledger.versions()
    held = set()
    for figures in ledger.figures.latest(kind="quality"):
        quality = Quality.from_json(figures.content)
        if quality.verdict == "held" and quality.collection_id == known.get(figures.version):
            held.add(figures.version)
    return held
