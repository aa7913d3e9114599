"""How good a version was found to be, as the ledger keeps it among a collection's figures.

Figures of the kind `quality` hold one `Quality` as JSON. Names are only ever added; who reads
passes over those that it does not know, and takes defaults for those that an older release left
out.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, TypeAlias

from embed_index.pipeline.evaluation.measures import NDCG
from embed_index.pipeline.evaluation.statistics import Estimate

Verdict: TypeAlias = Literal["", "good", "warned", "held"]
"""What a job's limits made of it: empty where there were none, `warned` for a live version that is
worse, `held` for a new one that therefore did not go live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long one search for one query takes, in milliseconds."""

    num_searches: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One way to search, measured over all queries."""

    mode: str
    """`dense`, `text` or `hybrid`."""
    dimension: int
    """Of the vectors compared; 0 where words alone are searched for."""
    exact: bool
    """Whether every vector was compared, rather than the index asked."""
    values: Mapping[str, Estimate]
    """By measure, such as `nDCG@10`, `recall@100`, `MRR@10`, `hit@10` and `judged@10`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstQuery:
    """A query that found little of what answers it."""

    query_id: str
    text: str
    ndcg: float
    expected: tuple[str, ...]
    """Ids of documents that answer it, the best first; at most ten."""
    found: tuple[str, ...]
    """Ids of what was found instead, the best first; at most ten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What an evaluation of one version found."""

    source: str
    """Where queries and judgements came from, in words."""
    fingerprint: str
    """The same for two evaluations that asked the same; only those can be compared."""
    collection_id: str
    """Of the version: one that was dropped and made again under its name has another."""
    num_queries: int
    measured: tuple[Measured, ...]
    """The first one is what searches of the version get."""
    ann_recall: float | None = None
    """Share of the ten nearest chunks that the index finds; None where it was not looked at."""
    latency: Latency | None = None
    """Of one search in Milvus, the query's vector at hand."""
    embedding: Latency | None = None
    """Of one query's vector, from the server."""
    worst: tuple[WorstQuery, ...] = ()
    verdict: Verdict = ""
    reason: str = ""
    """Why it was warned of or held, in a sentence."""

    @property
    def ndcg(self) -> float:
        """The figure that limits are about."""
        return self.measured[0].values[NDCG].mean

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, content: str) -> Self:
        """Read what this release or another one wrote."""
        given = _known(cls, json.loads(content))
        given["measured"] = tuple(
            Measured(
                **_known(Measured, entry)
                | {
                    "values": {
                        name: Estimate(**_known(Estimate, value))
                        for name, value in entry["values"].items()
                    }
                }
            )
            for entry in given["measured"]
        )
        for name in ("latency", "embedding"):
            if given.get(name) is not None:
                given[name] = Latency(**_known(Latency, given[name]))
        given["worst"] = tuple(
            WorstQuery(
                **_known(WorstQuery, entry)
                | {"expected": tuple(entry["expected"]), "found": tuple(entry["found"])}
            )
            for entry in given.get("worst", ())
        )
        return cls(**given)


def _known(record: type, given: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(record)}
    return {name: value for name, value in given.items() if name in names}
