"""A version judged by a job's queries and limits, and what came of it kept in the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from embed_index.pipeline.evaluation.assessment import Ways, assess
from embed_index.pipeline.evaluation.label_files import read_labels
from embed_index.pipeline.evaluation.labels import LabelledQueries
from embed_index.pipeline.evaluation.measures import check_library
from embed_index.pipeline.evaluation.quality import Quality
from embed_index.pipeline.evaluation.rankings import SearchedVersion
from embed_index.pipeline.evaluation.verdict import QualityLimits
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.milvus.versions import LiveVersion
from embed_index.schemas.errors import ConfigurationError, QualityError
from embed_index.schemas.records import Vectors
from embed_index.schemas.settings import JobSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityQuestion:
    """What a job's versions are judged by."""

    labels: LabelledQueries
    limits: QualityLimits

    @classmethod
    def of(cls, settings: JobSettings) -> Self | None:
        """Read what a job names; None where it names nothing.

        Raises:
            ConfigurationError: A file is unusable, or the extra `eval` is not installed.
        """
        if settings.quality_queries is None:
            return None
        check_library()
        try:
            labels = read_labels(settings.quality_queries, settings.quality_qrels)
        except ConfigurationError as error:
            raise ConfigurationError(f"quality: {error.message}", remedy=error.remedy) from error
        limits = QualityLimits(min_ndcg=settings.min_ndcg, max_drop=settings.max_drop)
        return cls(labels=labels, limits=limits)

    def ask(
        self, store: MilvusStore, version: LiveVersion, vectors: Vectors
    ) -> tuple[Quality, Sequence[str]]:
        """Return how good a version is, and what calls for care."""
        searched = SearchedVersion(store.reader, version, texts=self.labels.texts, vectors=vectors)
        found = assess(searched, self.labels, Ways())
        return found.quality, found.notes


def held(version: str, shortfall: str, *, live: str, collection: str) -> QualityError:
    """Return the error of a version that did not go live."""
    number = version.rpartition("_v")[2]
    return QualityError(
        f"{version} did not go live: {shortfall}; {live} stays live",
        remedy=f"See query by query with `embed-index eval {version} --job JOB.toml --against"
        f" {live}`. To have it live all the same: `embed-index promote {collection}"
        f" {number} --ungated`.",
    )


def incomparable(version: str, *, live: str, collection: str, because: str) -> QualityError:
    """Return the error of a version that nothing can be compared with."""
    number = version.rpartition("_v")[2]
    return QualityError(
        f"{version} did not go live: {live} has no figures for these queries to compare it with,"
        f" and is not searched for them here ({because}); {live} stays live",
        remedy=f"Record them with `embed-index eval {live} --job JOB.toml`, the job that made it"
        " with these queries, then run again; or have it live all the same:"
        f" `embed-index promote {collection} {number} --ungated`.",
    )
