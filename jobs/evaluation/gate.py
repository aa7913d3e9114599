"""The gate of a run: a new version is judged before it goes live, a live one after each night.

Queries are embedded by the run's own server, while it is there. What the gate has to say to people
is collected, for the searches run in a thread.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from embed_index.jobs.adapters.inputs import JobInputs
from embed_index.jobs.adapters.servers import canary_gate
from embed_index.jobs.evaluation.judging import QualityQuestion, held, incomparable
from embed_index.jobs.evaluation.text import quality_in_words
from embed_index.pipeline.embedding.embedder import RequestRefusedError
from embed_index.pipeline.evaluation.history import last_quality, record
from embed_index.pipeline.evaluation.quality import Quality
from embed_index.pipeline.evaluation.verdict import find_shortfall
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.milvus.versions import LiveVersion
from embed_index.pipeline.server.service import EmbeddingService
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ConfigurationError, ContractError, EmbedIndexError
from embed_index.schemas.limits import MAX_CONTEXT_TOKENS
from embed_index.schemas.records import TokenIds, Vectors
from embed_index.schemas.settings import JobSettings

_QUERIES_PER_REQUEST = 64

OpenService = Callable[[], Awaitable[EmbeddingService]]


@dataclass(slots=True, kw_only=True)
class _Asked:
    """A version with the queries' vectors by its contract."""

    version: LiveVersion
    vectors: Vectors


class QualityGate:
    """Judges the version that a run writes to."""

    def __init__(
        self,
        question: QualityQuestion,
        *,
        inputs: JobInputs,
        store: MilvusStore,
        ledger: Ledger,
        run: int,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            question: The job's.
            inputs: Its model and tokenizer.
            store: Where its versions are.
            ledger: Keeps what was found.
            run: Number of the run.
        """
        self._question = question
        self._inputs = inputs
        self._store = store
        self._ledger = ledger
        self._run = run
        self._asked: dict[str, _Asked] = {}
        self._judged: set[str] = set()
        self._unlike = ""
        self.notices: list[str] = []
        """What there is to say, in sentences."""

    @property
    def longest_tokens(self) -> int:
        """Of the queries as the job puts them, so that a server is started that takes them.

        Raises:
            ConfigurationError: One is longer than the model sees.
        """
        prompt = self._inputs.contract().query_prompt
        sizes = [ids.size for ids in self._token_ids(prompt)]
        limit = min(MAX_CONTEXT_TOKENS, self._inputs.model.max_positions)
        for size, query in zip(sizes, self._question.labels.queries, strict=True):
            if size > limit:
                raise ConfigurationError(
                    f"quality: query {query.id!r} has {size:,} tokens, and the model sees"
                    f" {limit:,}",
                    remedy="Leave it out, or shorten it.",
                )
        return max(sizes)

    async def embed(self, open_service: OpenService, *, version: str, collection: str) -> None:
        """Embed the queries for a version, and for the live one if that is another.

        Args:
            open_service: Returns the run's servers, and starts them if need be.
            version: That the run has written to.
            collection: The alias.
        """
        service = await open_service()
        live = self._store.versions.live(collection)
        for name in dict.fromkeys((version, live or version)):
            found = self._store.versions.find(name)
            if name == version or await self._is_alike(service, found):
                vectors = await self._embed(service, found.contract)
                self._asked[name] = _Asked(version=found, vectors=vectors)

    def admit(self, version: str, *, collection: str) -> None:
        """Judge a new version against the limits and the live one.

        Raises:
            QualityError: It is worse, or cannot be compared; it must not go live.
        """
        live = self._store.versions.live(collection)
        assert live is not None
        quality = self._find(version)
        limits = self._question.limits
        before = None
        if limits.max_drop is not None:
            before = self._quality_of_live(live)
            if before is None:
                error = incomparable(
                    version, live=live, collection=collection, because=self._unlike
                )
                self._record(quality, version=version, error=error.message, is_held=True)
                raise error
        shortfall = find_shortfall(quality, before=before, limits=limits, against=live)
        self._record(quality, version=version, error=shortfall, is_held=True)
        if shortfall:
            raise held(version, shortfall, live=live, collection=collection)
        than = f", {before.ndcg:.4f} in {live}" if before is not None else ""
        self.notices.append(f"{version} goes live with {quality_in_words(quality)}{than}")

    def watch(self, version: str) -> None:
        """Judge a live version after a night, and say where it became worse; never raises that."""
        if version not in self._asked or version in self._judged:
            return
        try:
            before = self._last(version)
            quality = self._find(version)
            shortfall = find_shortfall(
                quality,
                before=before,
                limits=self._question.limits,
                against="its last evaluation",
            )
            self._record(quality, version=version, error=shortfall, is_held=False)
        except EmbedIndexError as error:
            # The night itself went well.
            self.notices.append(f"the quality of {version} is unknown: {error.message}")
            return
        if shortfall:
            self.notices.append(f"{version} became worse: {shortfall}")

    def _find(self, version: str) -> Quality:
        asked = self._asked[version]
        quality, notes = self._question.ask(self._store, asked.version, asked.vectors)
        self.notices += [f"quality: {note}" for note in notes]
        return quality

    def _quality_of_live(self, live: str) -> Quality | None:
        """Search the live version as it is now, or take what was found last where it cannot be."""
        if live not in self._asked:
            return self._last(live)
        asked = self._asked[live]
        self._store.versions.load(live)
        try:
            quality, _ = self._question.ask(self._store, asked.version, asked.vectors)
        except ConfigurationError as error:
            # It holds none of the documents that answer.
            self._unlike = error.message
            return None
        record(self._ledger, quality, version=live)
        return quality

    def _last(self, version: str) -> Quality | None:
        return last_quality(
            self._ledger,
            version,
            collection_id=self._store.versions.contract(version).collection_id,
            fingerprint=self._question.labels.fingerprint,
        )

    def _record(self, quality: Quality, *, version: str, error: str, is_held: bool) -> None:
        self._judged.add(version)
        record(
            self._ledger,
            quality,
            version=version,
            verdict=("held" if is_held else "warned") if error else "good",
            reason=error,
            run=self._run,
        )

    async def _is_alike(self, service: EmbeddingService, version: LiveVersion) -> bool:
        """Say whether the run's servers embed as a version's did."""
        inputs, contract = self._inputs, version.contract
        settings: JobSettings = inputs.settings
        if (
            contract.model_revision != inputs.model.revision
            or contract.tokenizer_fingerprint != inputs.tokenizer.fingerprint
        ):
            self._unlike = f"it was made with {contract.model}"
            return False
        gate = canary_gate(
            settings,
            model=inputs.model,
            tokenizer=inputs.tokenizer,
            contract=contract,
            version=version.name,
        )
        try:
            await gate.prove(service.embedder, service.access)
        except ContractError as error:
            self._unlike = error.message
            return False
        return True

    async def _embed(self, service: EmbeddingService, contract: CollectionContract) -> Vectors:
        ids = self._token_ids(contract.query_prompt)
        steps = []
        for start in range(0, len(ids), _QUERIES_PER_REQUEST):
            step = ids[start : start + _QUERIES_PER_REQUEST]
            try:
                steps.append(await service.embedder.embed(step, dimension=contract.dimension))
            except RequestRefusedError as refusal:
                raise ConfigurationError(
                    f"quality: the embedding server refuses a query ({refusal.detail})",
                    remedy="See its log; leave out what is too long for it.",
                ) from refusal
        return np.concatenate(steps)

    def _token_ids(self, prompt: str) -> Sequence[TokenIds]:
        encode = self._inputs.tokenizer.encode_for_model
        return [encode(prompt + text) for text in self._question.labels.texts]
