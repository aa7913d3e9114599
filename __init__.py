"""Search collections of embed-index by meaning, from Python.

    from embed_index import open_collection

    with open_collection("articles") as articles:
        for hit in articles.search("how do I reset my password", limit=3):
            print(hit.score, hit.doc_id, hit.text)

What a name needs is imported when it is first asked for, so that this costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embed_index.jobs.collections.opening import open_async_collection, open_collection
    from embed_index.pipeline.library.async_collection import AsyncCollection
    from embed_index.pipeline.library.collection import Collection
    from embed_index.pipeline.library.documents import Document
    from embed_index.pipeline.library.hits import BatchHits, Hits
    from embed_index.pipeline.milvus.stored import Hit, StoredChunk
    from embed_index.schemas.errors import (
        ConfigurationError,
        ContractError,
        EmbedIndexError,
        QueryError,
        ServerError,
        StoreError,
        UnavailableError,
    )

__all__ = [
    "AsyncCollection",
    "BatchHits",
    "Collection",
    "ConfigurationError",
    "ContractError",
    "Document",
    "EmbedIndexError",
    "Hit",
    "Hits",
    "QueryError",
    "ServerError",
    "StoreError",
    "StoredChunk",
    "UnavailableError",
    "open_async_collection",
    "open_collection",
]

_ERRORS = "embed_index.schemas.errors"
_PLACES = {
    "AsyncCollection": "embed_index.pipeline.library.async_collection",
    "BatchHits": "embed_index.pipeline.library.hits",
    "Collection": "embed_index.pipeline.library.collection",
    "Document": "embed_index.pipeline.library.documents",
    "Hit": "embed_index.pipeline.milvus.stored",
    "Hits": "embed_index.pipeline.library.hits",
    "StoredChunk": "embed_index.pipeline.milvus.stored",
    "open_async_collection": "embed_index.jobs.collections.opening",
    "open_collection": "embed_index.jobs.collections.opening",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_PLACES.get(name, _ERRORS)), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
