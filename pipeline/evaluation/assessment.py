"""A version searched for labelled queries in several ways, and what that is worth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embed_index.pipeline.evaluation.labels import LabelledQueries
from embed_index.pipeline.evaluation.measures import CUTOFF, NDCG, Values, score
from embed_index.pipeline.evaluation.quality import Measured, Quality, WorstQuery
from embed_index.pipeline.evaluation.rankings import Ranking, SearchedVersion
from embed_index.pipeline.evaluation.statistics import estimate
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.modes import SearchMode

NUM_WORST = 10
_MAX_TIMED = 200
_MAX_NAMED = 3
_MAX_CHARACTERS = 1_000
"""Of a query that is kept in the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """In which ways a version is searched."""

    modes: tuple[SearchMode, ...] = ("dense",)
    dimensions: tuple[int, ...] = ()
    """At which its vectors are compared exactly; the version's own and smaller ones."""
    exact: bool = False
    """Whether the index is compared with exact search."""
    recall_at: tuple[int, ...] = (10, 100)
    is_timed: bool = False

    @property
    def by_meaning(self) -> bool:
        """Whether queries are embedded."""
        return bool(self.dimensions) or self.exact or any(mode != "text" for mode in self.modes)

    @property
    def depth(self) -> int:
        """Documents asked for."""
        return max(CUTOFF, *self.recall_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What searches of a version are worth, and query by query what the first way of them found."""

    quality: Quality
    values: Values
    rankings: tuple[Ranking, ...]
    notes: tuple[str, ...]
    """What calls for care, in sentences."""


def assess(searched: SearchedVersion, labels: LabelledQueries, ways: Ways) -> Assessment:
    """Search for all queries in all ways, and measure.

    Raises:
        ConfigurationError: The version holds none of the documents that answer, it has no such
            dimension, or the extra `eval` is not installed.
        QueryError: It cannot be searched by words.
        StoreError: Milvus stays away.
    """
    version = searched.version
    widest = version.contract.dimension
    dimensions = _dimensions(ways, widest=widest, name=version.name)
    notes = _check_documents(searched, labels)
    searched.wait_for_writes()
    found: list[tuple[Measured, Values, tuple[Ranking, ...]]] = []

    def keep(rankings: Sequence[Ranking], *, mode: SearchMode, size: int, exact: bool) -> None:
        values = score(labels.queries, rankings, recall_at=ways.recall_at)
        measured = Measured(
            mode=mode,
            dimension=size,
            exact=exact,
            values={name: estimate(each) for name, each in values.items()},
        )
        found.append((measured, values, tuple(rankings)))

    for mode in ways.modes:
        rankings = searched.rank(mode=mode, depth=ways.depth)
        keep(rankings, mode=mode, size=0 if mode == "text" else widest, exact=False)
    ann_recall = None
    if dimensions:
        exact = searched.read_exactly(dimensions=dimensions, depth=ways.depth)
        ann_recall = searched.ann_recall(exact)
        for size in dimensions:
            keep(exact.rankings(size), mode="dense", size=size, exact=True)
    _, values, ranked = found[0]
    latency = None
    if ways.is_timed:
        latency = searched.time(mode=ways.modes[0], max_searches=_MAX_TIMED)
    return Assessment(
        quality=Quality(
            source=labels.source,
            fingerprint=labels.fingerprint,
            collection_id=version.contract.collection_id,
            num_queries=len(labels),
            measured=tuple(measured for measured, *_ in found),
            ann_recall=ann_recall,
            latency=latency,
            worst=_worst(labels, values, ranked),
        ),
        values=values,
        rankings=ranked,
        notes=(*labels.notes, *notes),
    )


def _dimensions(ways: Ways, *, widest: int, name: str) -> tuple[int, ...]:
    """Return at which widths vectors are compared exactly, the version's own first."""
    for size in ways.dimensions:
        if not 1 <= size <= widest:
            raise ConfigurationError(
                f"dimensions: {size} is not from 1 to {widest}, which is the width of {name}",
                remedy="Wider vectors need a version of that dimension.",
            )
    if not ways.dimensions and not ways.exact:
        return ()
    return tuple(sorted({widest, *ways.dimensions}, reverse=True))


def _check_documents(searched: SearchedVersion, labels: LabelledQueries) -> list[str]:
    """Say which documents that answer are not there; they count as not found."""
    wanted = list(dict.fromkeys(doc_id for query in labels.queries for doc_id in query.relevant))
    missing = searched.missing(wanted)
    named = ", ".join(repr(doc_id) for doc_id in missing[:_MAX_NAMED])
    if len(missing) == len(wanted):
        raise ConfigurationError(
            f"{searched.version.name} holds none of the {len(wanted):,} documents that answer"
            f" queries, such as {named}",
            remedy="Judgements must name documents as the corpus' id column does.",
        )
    if not missing:
        return []
    more = ", …" if len(missing) > _MAX_NAMED else ""
    note = (
        f"{len(missing):,} of {len(wanted):,} documents that answer queries are not in"
        f" {searched.version.name}, and count as not found: {named}{more}"
    )
    return [note]


def _worst(
    labels: LabelledQueries, values: Values, rankings: Sequence[Ranking]
) -> tuple[WorstQuery, ...]:
    ndcg = values[NDCG]
    order = np.argsort(ndcg, kind="stable")[:NUM_WORST]
    return tuple(
        WorstQuery(
            query_id=labels.queries[place].id,
            text=labels.queries[place].text[:_MAX_CHARACTERS],
            ndcg=float(ndcg[place]),
            expected=labels.queries[place].relevant[:CUTOFF],
            found=rankings[place][:CUTOFF],
        )
        for place in order
        if ndcg[place] < 1
    )
