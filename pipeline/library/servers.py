"""What the library needs of whoever runs embedding servers, given by the one who opens it."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from embed_index.pipeline.model.files import ModelFiles
from embed_index.pipeline.server.service import EmbeddingRequest, EmbeddingService
from embed_index.schemas.contract import CollectionContract

FindModel: TypeAlias = Callable[[CollectionContract], Awaitable[ModelFiles]]
"""Returns the files of the model that a collection was made with; raises ConfigurationError."""

OpenService: TypeAlias = Callable[[EmbeddingRequest], AbstractAsyncContextManager[EmbeddingService]]
"""Returns servers that embed until the context is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryServers:
    """Where queries are embedded."""

    find_model: FindModel
    tokenizers: Path
    """Folder for what was derived from tokenizers."""
    mixed_precision: bool
    """Whether a server of another precision than the collection's may embed its queries."""
    open_service: OpenService
    answer_seconds: float
    """For one request on an otherwise idle server."""
