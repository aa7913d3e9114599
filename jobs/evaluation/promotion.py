"""`embed-index promote`: the alias moves to a version that is whole, and good enough."""

from embed_index.jobs.collections.versions import locked_versions
from embed_index.jobs.evaluation.judging import QualityQuestion, held, incomparable
from embed_index.jobs.evaluation.query_vectors import QueryVectors, Tell, embed_queries
from embed_index.jobs.evaluation.text import quality_in_words
from embed_index.pipeline.evaluation.history import held_versions, last_quality, record
from embed_index.pipeline.evaluation.quality import Quality
from embed_index.pipeline.evaluation.verdict import find_shortfall
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.versions.changes import AliasMove, promote
from embed_index.schemas.errors import ConfigurationError, QualityError
from embed_index.schemas.settings import JobSettings


def promote_version(
    settings: JobSettings, *, version: str | None, force: bool, tell: Tell
) -> AliasMove:
    """Point the alias at a version, unless it finds worse than the job allows.

    Raises:
        QualityError: It does.
        LockHeldError: A run is at work.
        EmbedIndexError: As `changes.promote` and `embed_queries` raise.
    """
    is_judged = not settings.ungated and not force
    question = QualityQuestion.of(settings) if is_judged else None
    with locked_versions(settings) as (store, ledger):
        if question is None:
            return promote(
                store,
                alias=settings.collection,
                version=version,
                ledger=ledger,
                force=force,
                finished=held_versions(ledger) if ledger is not None else (),
            )
        judge = _Judge(settings, question, store=store, ledger=ledger, tell=tell)
        return promote(
            store,
            alias=settings.collection,
            version=version,
            ledger=ledger,
            force=force,
            finished=held_versions(ledger) if ledger is not None else (),
            admit=judge.admit,
        )


class _Judge:
    """Searches two versions for a job's queries."""

    def __init__(
        self,
        settings: JobSettings,
        question: QualityQuestion,
        *,
        store: MilvusStore,
        ledger: Ledger | None,
        tell: Tell,
    ) -> None:
        self._settings = settings
        self._question = question
        self._store = store
        self._ledger = ledger
        self._tell = tell

    def admit(self, version: str, live: str) -> None:
        """Raise where a version must not take the place of the live one."""
        question, collection = self._question, self._settings.collection
        quality, made = self._find(version, made=None)
        before, because = None, ""
        if question.limits.max_drop is not None:
            try:
                before, _ = self._find(live, made=made)
            except ConfigurationError as error:
                # Such as another model, which settings do not name.
                because = error.message
                before = self._last(live)
        shortfall = find_shortfall(quality, before=before, limits=question.limits, against=live)
        refusal: QualityError | None = None
        if shortfall:
            refusal = held(version, shortfall, live=live, collection=collection)
        elif because and before is None:
            refusal = incomparable(version, live=live, collection=collection, because=because)
        self._record(quality, version=version, reason=refusal.message if refusal else "")
        if refusal is not None:
            raise refusal
        self._tell(f"{version}: {quality_in_words(quality)}")

    def _find(self, name: str, *, made: QueryVectors | None) -> tuple[Quality, QueryVectors]:
        version = self._store.versions.find(name)
        self._store.versions.load(name)
        made = made and made.fit(version.contract)
        made = made or embed_queries(
            self._settings, version, self._question.labels.texts, tell=self._tell
        )
        quality, notes = self._question.ask(self._store, version, made.vectors)
        for note in notes:
            self._tell(f"quality: {note}")
        return quality, made

    def _last(self, version: str) -> Quality | None:
        if self._ledger is None:
            return None
        return last_quality(
            self._ledger,
            version,
            collection_id=self._store.versions.contract(version).collection_id,
            fingerprint=self._question.labels.fingerprint,
        )

    def _record(self, quality: Quality, *, version: str, reason: str) -> None:
        if self._ledger is not None:
            record(
                self._ledger,
                quality,
                version=version,
                verdict="held" if reason else "good",
                reason=reason,
            )
