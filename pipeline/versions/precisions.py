"""In which precisions runs made the vectors of a version, kept in the ledger."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.schemas.counts import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePrecisions:
    """What is known of the runs that embedded something for a version."""

    num_runs: Mapping[str, int]
    """By precision."""
    num_unknown: int
    """Runs that did not put it down, as older releases did not."""

    def in_words(self, begun_in: str) -> str:
        """Return what there is in a version, which was begun in some precision."""
        others = [name for name in self.num_runs if name != begun_in]
        words = [begun_in or "unknown"]
        words += [f"{name} of {counted(self.num_runs[name], 'run')}" for name in sorted(others)]
        if self.num_unknown:
            words.append(f"that of {counted(self.num_unknown, 'other run')} is not known here")
        return "; ".join(words)


def keep_precision(
    ledger: Ledger, *, version: str, collection_id: str, run: int, precision: str
) -> None:
    """Put down that a run's servers compute in a precision."""
    content = json.dumps({"collection_id": collection_id, "precision": precision})
    ledger.figures.record("precision", version=version, run_id=run, content=content)


def find_precisions(ledger: Ledger, *, version: str, collection_id: str) -> MadePrecisions:
    """Return what runs put down of a version, and how many that embedded did not."""
    found: set[tuple[int | None, str]] = set()
    for figures in ledger.figures.latest(kind="precision"):
        said = json.loads(figures.content)
        if figures.version == version and said["collection_id"] == collection_id:
            found.add((figures.run_id, said["precision"]))
    known = {run for run, _ in found}
    of_version = [run for run in ledger.runs.latest() if run.version == version]
    embedded = {run.id for run in of_version if run.counters.num_tokens}
    return MadePrecisions(
        num_runs=Counter(precision for _, precision in found),
        num_unknown=len(embedded - known),
    )
