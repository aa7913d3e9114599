"""One search: the query embedded as the collection's contract says, then the nearest chunks."""

from embed_index.jobs.adapters.live_version import live_version
from embed_index.jobs.adapters.places import open_job_store, tokenizer_folder
from embed_index.jobs.adapters.servers import canary_gate, choose_service, request_for
from embed_index.jobs.cli.signals import run_interruptibly
from embed_index.pipeline.milvus.stored import SearchHit
from embed_index.pipeline.model.files import ModelFiles, find_model
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.pipeline.server.server_log import name_log
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ConfigurationError, ContractError
from embed_index.schemas.limits import MAX_CONTEXT_TOKENS
from embed_index.schemas.records import TokenIds, Vectors
from embed_index.schemas.settings import JobSettings


def search_collection(
    settings: JobSettings, *, collection: str, text: str, limit: int, expression: str
) -> list[SearchHit]:
    """Return the chunks nearest to a text, the nearest first.

    Raises:
        ConfigurationError: The collection does not exist, the filter is none, or the query is
            empty, not UTF-8 or too long.
        ContractError: The model at hand is not the collection's.
        UnavailableError: Milvus or the embedding server cannot be used.
    """
    _check_query(text)
    with open_job_store(settings) as store:
        version = live_version(store, collection)
        contract = store.versions.contract(version)
        model, tokenizer = _find_model(settings, contract=contract)
        query = tokenizer.encode_for_model(contract.query_prompt + text)
        seen = min(MAX_CONTEXT_TOKENS, model.max_positions)
        if query.size > seen:
            raise ConfigurationError(
                f"the query has {query.size:,} tokens, and the model sees {seen:,}",
                remedy="Search with a shorter text.",
            )
        vector = run_interruptibly(
            _embed_query(
                settings,
                query=query,
                model=model,
                tokenizer=tokenizer,
                contract=contract,
                version=version,
            )
        )
        return store.reader.search(collection, vector, limit=limit, where=expression)


def _check_query(text: str) -> None:
    if not text or text.isspace():
        raise ConfigurationError(
            "the query is empty", remedy="Give the text to search for, in quotes."
        )
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigurationError(
            "the query is not UTF-8", remedy="Give it in UTF-8, or set LANG to what it is in."
        )


def _find_model(
    settings: JobSettings, *, contract: CollectionContract
) -> tuple[ModelFiles, ModelTokenizer]:
    """Return the collection's model; a folder must be named, a hub id the contract knows."""
    named = "model" in settings.model_fields_set
    model = find_model(
        settings.model if named else contract.model,
        source=settings.model_source,
        revision=settings.revision if named else contract.model_revision,
    )
    if model.revision == contract.model_revision:
        tokenizer = ModelTokenizer.load(model, cache=tokenizer_folder(settings))
        if tokenizer.fingerprint == contract.tokenizer_fingerprint:
            return model, tokenizer
    raise ContractError(
        f"{model.location} at {model.revision} is not the collection's model, which is"
        f" {contract.model} at {contract.model_revision}",
        remedy="Give the collection's own model with --model and --revision.",
    )


async def _embed_query(
    settings: JobSettings,
    *,
    query: TokenIds,
    model: ModelFiles,
    tokenizer: ModelTokenizer,
    contract: CollectionContract,
    version: str,
) -> Vectors:
    gate = canary_gate(
        settings, model=model, tokenizer=tokenizer, contract=contract, version=version
    )
    request = request_for(settings, model=model, gate=gate, max_tokens=query.size)
    async with choose_service(
        settings, request=request, max_servers=1, log_owner=name_log("search")
    ) as service:
        vectors = await service.embedder.embed([query], dimension=contract.dimension)
    vector: Vectors = vectors[0]
    return vector
