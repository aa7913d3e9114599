"""`embed-index eval`: how good a collection finds, and perhaps against another version of it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from embed_index.jobs.adapters.ledgers import locked_collection
from embed_index.jobs.adapters.places import ledger_path, open_existing_store
from embed_index.jobs.evaluation.query_vectors import QueryVectors, Tell, embed_queries
from embed_index.pipeline.evaluation.assessment import Assessment, Ways, assess
from embed_index.pipeline.evaluation.comparison import VersionComparison, compare_versions
from embed_index.pipeline.evaluation.known_items import draw_known_items
from embed_index.pipeline.evaluation.label_files import read_labels
from embed_index.pipeline.evaluation.labels import LabelledQueries
from embed_index.pipeline.evaluation.measures import check_library
from embed_index.pipeline.evaluation.quality import Quality
from embed_index.pipeline.evaluation.rankings import SearchedVersion
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.retry import OutagePolicy
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.milvus.versions import LiveVersion, alias_of
from embed_index.schemas.errors import ConfigurationError, LockHeldError, QueryError
from embed_index.schemas.settings import JobSettings

MAX_ROWS_READ_UNASKED = 1_000_000
"""Exact search reads every vector: some minutes for so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an evaluation is to find out."""

    queries: Path | None = None
    qrels: Path | None = None
    title_column: str | None = None
    """Carried column whose values are the queries, instead of a file's."""
    num_titles: int = 500
    seed: int = 0
    ways: Ways = field(default_factory=Ways)
    exact: bool | None = None
    """Whether the index is compared with exact search; None where the version is not large."""
    against: str | None = None
    """Another version: its name, or `@v2`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation found."""

    collection: str
    version: str
    quality: Quality
    notes: tuple[str, ...]
    comparison: VersionComparison | None


def evaluate_collection(
    settings: JobSettings, question: Question, *, collection: str, tell: Tell
) -> Evaluation:
    """Search a collection for labelled queries, and record what that was worth.

    Args:
        settings: Where Milvus, model, server and ledger are.
        question: What is to be found out.
        collection: Its name, or that of one version.
        tell: Called with sentences for people meanwhile.

    Raises:
        ConfigurationError: Files, options and collection do not fit together.
        ContractError: The model or server at hand is not the collection's.
        UnavailableError: Milvus or the server cannot be used.
    """
    check_library()
    labels = _labels_of_files(question)
    with ExitStack() as stack:
        # Somebody waits: an outage is not ridden out as at night.
        retry = OutagePolicy(retry_seconds=10.0, doubt_seconds=5.0)
        store = stack.enter_context(open_existing_store(settings, collection, retry=retry))
        version = _found(store, collection)
        other = None
        if question.against is not None:
            other = _found(store, _full_name(collection, question.against))
            if other.name == version.name:
                raise ConfigurationError(
                    f"against: {other.name} is the version that is evaluated",
                    remedy="Name another one; `embed-index describe` lists them.",
                )
        if labels is None:
            labels = _labels_of_titles(store, version, question)
        ways = _decided(question, store=store, version=version, tell=tell)
        ours, searched, made = _assess(settings, store, version, labels, ways, tell=tell)
        comparison = None
        if other is not None:
            only_first = Ways(modes=ways.modes[:1], recall_at=ways.recall_at)
            theirs, _, _ = _assess(settings, store, other, labels, only_first, tell=tell, made=made)
            comparison = compare_versions(
                searched, labels, ours=ours, theirs=theirs, against=other.name
            )
    _record(settings, ours.quality, version=version.name, tell=tell)
    return Evaluation(
        collection=alias_of(version.name) or collection,
        version=version.name,
        quality=ours.quality,
        notes=ours.notes,
        comparison=comparison,
    )


def _labels_of_files(question: Question) -> LabelledQueries | None:
    if question.queries is None:
        return None
    return read_labels(question.queries, question.qrels)


def _labels_of_titles(
    store: MilvusStore, version: LiveVersion, question: Question
) -> LabelledQueries:
    column = question.title_column
    assert column is not None
    texts = [carried.name for carried in version.layout.carried if carried.type == "text"]
    if column not in texts:
        raise QueryError(
            f"{version.name} carries no text column {column!r}",
            remedy=f"It has {', '.join(texts) or 'none'}; carry one with `carry` under [source].",
        )
    return draw_known_items(
        store.reader.iter_chunks(version.name),
        column=column,
        num_queries=question.num_titles,
        seed=question.seed,
    )


def _found(store: MilvusStore, name: str) -> LiveVersion:
    version = store.versions.find(name)
    store.versions.load(version.name)
    return version


def _full_name(collection: str, against: str) -> str:
    if not against.startswith("@"):
        return against
    return f"{alias_of(collection) or collection}_{against[1:]}"


def _decided(question: Question, *, store: MilvusStore, version: LiveVersion, tell: Tell) -> Ways:
    """Say whether the index is compared with exact search, where nobody said so."""
    ways = question.ways
    if question.exact is not None or "dense" not in ways.modes:
        return replace(ways, exact=bool(question.exact))
    num_rows = store.reader.count(version.name)
    if num_rows > MAX_ROWS_READ_UNASKED and not ways.dimensions:
        tell(
            f"{version.name} has {num_rows:,} rows: its index is not compared with exact search,"
            " which reads them all; --exact does"
        )
        return ways
    return replace(ways, exact=True)


def _assess(
    settings: JobSettings,
    store: MilvusStore,
    version: LiveVersion,
    labels: LabelledQueries,
    ways: Ways,
    *,
    tell: Callable[[str], None],
    made: QueryVectors | None = None,
) -> tuple[Assessment, SearchedVersion, QueryVectors | None]:
    """Assess a version, with vectors that were made for another one where they fit."""
    if ways.by_meaning:
        made = made and made.fit(version.contract)
        made = made or embed_queries(
            settings, version, labels.texts, tell=tell, is_timed=ways.is_timed
        )
    searched = SearchedVersion(
        store.reader,
        version,
        texts=labels.texts,
        vectors=made.vectors if made is not None and ways.by_meaning else None,
    )
    found = assess(searched, labels, ways)
    if made is not None:
        found = replace(found, quality=replace(found.quality, embedding=made.latency))
    return found, searched, made


def _record(settings: JobSettings, quality: Quality, *, version: str, tell: Tell) -> None:
    """Keep what was found among the collection's figures, where there is a ledger to keep it."""
    alias = alias_of(version)
    assert alias is not None
    settings = settings.model_copy(update={"collection": alias})
    path = ledger_path(settings, alias)
    if not path.exists():
        tell(f"no run of {alias!r} has left a ledger here, so that nothing is recorded")
        return
    try:
        with locked_collection(settings), Ledger(path) as ledger:
            ledger.figures.record("quality", version=version, content=quality.to_json())
    except LockHeldError as error:
        tell(f"not recorded: {error.message}")
