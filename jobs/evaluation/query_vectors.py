"""Vectors of queries for one version or two, from servers as a search uses them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embed_index.jobs.adapters.query_servers import StartedServer, query_servers
from embed_index.pipeline.embedding.canaries import check_canaries
from embed_index.pipeline.evaluation.exact import cut
from embed_index.pipeline.evaluation.quality import Latency
from embed_index.pipeline.evaluation.rankings import measure_latency
from embed_index.pipeline.library.queries import QueryEmbedder
from embed_index.pipeline.milvus.versions import LiveVersion
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ContractError
from embed_index.schemas.limits import MAX_CONTEXT_TOKENS
from embed_index.schemas.records import Vectors
from embed_index.schemas.settings import JobSettings

_QUERIES_PER_STEP = 512
_PROMPT_BYTES = 1_024
_MAX_TIMED = 100

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryVectors:
    """The queries as a version's contract puts them."""

    contract: CollectionContract
    vectors: Vectors
    latency: Latency | None
    """Of embedding one query; None where it was not looked at."""

    def fit(self, contract: CollectionContract) -> "QueryVectors | None":
        """Return them for another contract, if it puts queries to the same model in the same way.

        None where they must be made anew.
        """
        same = ("query_prompt", "model_revision", "tokenizer_fingerprint", "engine", "dtype")
        if (
            any(getattr(self.contract, name) != getattr(contract, name) for name in same)
            or contract.dimension > self.contract.dimension
        ):
            return None
        try:
            check_canaries(self.contract.canaries, known=contract.canaries, version="another")
        except ContractError:
            return None
        vectors = cut(self.vectors, dimension=contract.dimension)
        return QueryVectors(contract=contract, vectors=vectors, latency=None)


def embed_queries(
    settings: JobSettings,
    version: LiveVersion,
    texts: Sequence[str],
    *,
    tell: Tell,
    is_timed: bool = False,
) -> QueryVectors:
    """Embed queries as a version's contract says.

    Args:
        settings: Where the server and the model are.
        version: The version.
        texts: The queries.
        tell: Called with a sentence for people when a server is started.
        is_timed: Whether some are embedded once more, one by one.

    Raises:
        ConfigurationError: A query is too long, or the model is not known here.
        ContractError: The server, or the model at hand, is not the version's.
        UnavailableError: The server cannot be used.
    """
    # No text has more tokens than bytes.
    longest = max(len(text.encode("utf-8")) for text in texts) + _PROMPT_BYTES
    start = StartedServer(tell=tell, max_tokens=min(longest, MAX_CONTEXT_TOKENS))
    embedder = QueryEmbedder(query_servers(settings, start=start))
    try:
        return _embed(embedder, version, texts, is_timed=is_timed)
    finally:
        embedder.close()


def _embed(
    embedder: QueryEmbedder, version: LiveVersion, texts: Sequence[str], *, is_timed: bool
) -> QueryVectors:
    import numpy as np

    steps = [
        embedder.embed(texts[start : start + _QUERIES_PER_STEP], version=version)
        for start in range(0, len(texts), _QUERIES_PER_STEP)
    ]
    latency = None
    if is_timed:
        latency = measure_latency(
            lambda place: embedder.embed(texts[place : place + 1], version=version),
            num_searches=min(_MAX_TIMED, len(texts)),
        )
    return QueryVectors(contract=version.contract, vectors=np.concatenate(steps), latency=latency)
