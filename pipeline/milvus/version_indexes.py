"""The indexes of versions: made, read, replaced, and made again after a crash."""

from collections.abc import Callable
from typing import Any

from embed_index.pipeline.milvus.connection import MilvusConnection
from embed_index.pipeline.milvus.indexes import (
    DEFAULT_INDEX,
    MadeIndex,
    VectorIndex,
    check_index,
)
from embed_index.pipeline.milvus.retry import INVALID_PARAMETER, is_refusal
from embed_index.pipeline.milvus.sdk import MilvusClient, MilvusException
from embed_index.pipeline.milvus.terms import TERMS_INDEX, has_terms
from embed_index.schemas.columns import TEXT_TERMS
from embed_index.schemas.errors import ConfigurationError

_METADATA_SECONDS = 20.0
_LOAD_SECONDS = 600.0
_SCALAR_INDEXES = ("INVERTED", "Trie")
"""Milvus 2.3 knows only the second one for text."""


class VersionIndexes:
    """The indexes over the vectors of versions; safe to share by threads."""

    def __init__(self, connection: MilvusConnection) -> None:
        self._connection = connection

    def check(self, index: VectorIndex) -> None:
        """Refuse an index that this Milvus is known not to have.

        Raises:
            ConfigurationError: It is none of its, or a parameter is not.
        """
        check_index(index, embedded=self._connection.embedded)

    def read(self, version: str) -> MadeIndex | None:
        """Return the index that a version has; None for none."""

        def describe(client: MilvusClient) -> MadeIndex | None:
            return described_index(client, version, seconds=self._connection.call_seconds)

        return self._connection.call(describe, doing=f"reading the index of {version!r}")

    def make(self, version: str, index: VectorIndex) -> None:
        """Index a version that has no index over its vectors.

        Raises:
            ConfigurationError: This Milvus does not make such an index.
        """
        self.check(index)
        embedded = self._connection.embedded

        def make(client: MilvusClient) -> None:
            if described_index(client, version, seconds=_METADATA_SECONDS) is not None:
                return
            try:
                _create_index(
                    client,
                    version,
                    "embedding",
                    index.milvus_type(embedded=embedded),
                    metric_type="COSINE",
                    params=index.build_params,
                )
            except MilvusException as error:
                if index == DEFAULT_INDEX or not is_refusal(error):
                    raise
                raise ConfigurationError(
                    f"index_type: Milvus at {self._connection.address.uri} does not make"
                    f" {index}: {self._connection.words_of(error)}",
                    remedy="Choose another, or auto.",
                ) from error

        self._connection.call(make, doing=f"indexing {version!r}")

    def replace(
        self, version: str, index: VectorIndex, *, before_change: Callable[[], None] = lambda: None
    ) -> bool:
        """Give a version another index over the same vectors; False where it has that one.

        It is out of memory meanwhile, so that searches of it fail or wait. Where Milvus does not
        make the new index, it has the old one again.

        Args:
            version: The version, which is in memory afterwards.
            index: What it shall have.
            before_change: Called before its index is dropped.

        Raises:
            ConfigurationError: This Milvus does not make such an index.
        """
        self.check(index)
        made = self.read(version)
        if made is not None and made.is_(index, embedded=self._connection.embedded):
            self._load(version)
            return False
        before_change()

        def undress(client: MilvusClient) -> None:
            client.release_collection(version, timeout=_LOAD_SECONDS)
            if described_index(client, version, seconds=_METADATA_SECONDS) is not None:
                client.drop_index(version, "embedding", timeout=_LOAD_SECONDS)

        self._connection.call(undress, doing=f"dropping the index of {version!r}")
        try:
            self.make(version, index)
        except ConfigurationError:
            self.make(version, DEFAULT_INDEX if made is None else made.as_wanted())
            raise
        finally:
            self._load(version)
        return True

    def _load(self, version: str) -> None:
        self._connection.call(
            lambda client: load_collection(
                client, version, vector_index=self._connection.vector_index
            ),
            doing=f"loading collection {version!r}",
        )


def described_index(client: MilvusClient, version: str, *, seconds: float) -> MadeIndex | None:
    """Return the index over a version's vectors; None for none."""
    if "embedding" not in client.list_indexes(version, timeout=seconds):
        return None
    described = client.describe_index(version, "embedding", timeout=seconds)
    return None if described is None else MadeIndex.read(described)


def load_collection(client: MilvusClient, collection: str, *, vector_index: str) -> None:
    """Create the indexes that are missing, as after a crash, and load."""
    indexed = client.list_indexes(collection, timeout=_METADATA_SECONDS)
    if "embedding" not in indexed:
        _create_index(client, collection, "embedding", vector_index, metric_type="COSINE")
    if "doc_id" not in indexed:
        _create_text_index(client, collection, "doc_id")
    if TEXT_TERMS not in indexed:
        described = client.describe_collection(collection, timeout=_METADATA_SECONDS)
        if has_terms(described):
            _create_index(client, collection, TEXT_TERMS, TERMS_INDEX, metric_type="BM25")
    client.load_collection(collection, timeout=_LOAD_SECONDS)


def _create_text_index(client: MilvusClient, collection: str, field: str) -> None:
    *preferred, last = _SCALAR_INDEXES
    for index_type in preferred:
        try:
            return _create_index(client, collection, field, index_type)
        except MilvusException as error:
            if error.code != INVALID_PARAMETER:
                raise
    return _create_index(client, collection, field, last)


def _create_index(
    client: MilvusClient, collection: str, field: str, index_type: str, **parameters: Any
) -> None:
    wanted = client.prepare_index_params()
    wanted.add_index(field, index_type=index_type, index_name=field, **parameters)
    # To wait is to sleep half a second and ask; loading waits for whatever it needs.
    client.create_index(collection, wanted, timeout=_LOAD_SECONDS, sync=False)
