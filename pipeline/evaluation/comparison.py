"""Two versions, query by query."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embed_index.pipeline.evaluation.assessment import NUM_WORST, Assessment
from embed_index.pipeline.evaluation.labels import LabelledQueries
from embed_index.pipeline.evaluation.measures import NDCG
from embed_index.pipeline.evaluation.rankings import SearchedVersion
from embed_index.pipeline.evaluation.statistics import Paired, compare


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDocument:
    """A document with the beginning of it."""

    doc_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LostQuery:
    """A query that finds less than it did."""

    query_id: str
    text: str
    ndcg: float
    ndcg_against: float
    expected: FoundDocument
    """The best of those that answer it."""
    found: FoundDocument | None
    """What comes first instead; None where nothing was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionComparison:
    """What a version finds against another one."""

    version: str
    against: str
    ndcg: float
    ndcg_against: float
    paired: Paired
    worst: tuple[LostQuery, ...]
    """The greatest losses, the greatest first."""


def compare_versions(
    searched: SearchedVersion,
    labels: LabelledQueries,
    *,
    ours: Assessment,
    theirs: Assessment,
    against: str,
) -> VersionComparison:
    """Compare what two versions found for the same queries by their nDCG@10.

    Args:
        searched: The version, for its texts.
        labels: The queries.
        ours: What it found.
        theirs: What the other one found.
        against: The other one's name.
    """
    first, second = ours.values[NDCG], theirs.values[NDCG]
    order = np.argsort(first - second, kind="stable")[:NUM_WORST]
    return VersionComparison(
        version=searched.version.name,
        against=against,
        ndcg=float(first.mean()),
        ndcg_against=float(second.mean()),
        paired=compare(first, second),
        worst=tuple(
            LostQuery(
                query_id=labels.queries[place].id,
                text=labels.queries[place].text,
                ndcg=float(first[place]),
                ndcg_against=float(second[place]),
                expected=_document(searched, labels.queries[place].relevant[:1]),
                found=_document(searched, ours.rankings[place][:1])
                if ours.rankings[place]
                else None,
            )
            for place in order
            if first[place] < second[place]
        ),
    )


def _document(searched: SearchedVersion, doc_ids: Sequence[str]) -> FoundDocument:
    (doc_id,) = doc_ids
    return FoundDocument(doc_id=doc_id, text=searched.first_text(doc_id))
