"""How versions are kept: indexes made, read, replaced, and made again after a crash; loaded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from embed_index.pipeline.milvus.arrangement import (
    Arrangement,
    Changes,
    MadeArrangement,
    Placement,
)
from embed_index.pipeline.milvus.capabilities import ask_target
from embed_index.pipeline.milvus.connection import MilvusConnection
from embed_index.pipeline.milvus.indexes import DEFAULT_INDEX, MadeIndex, VectorIndex
from embed_index.pipeline.milvus.retry import INVALID_PARAMETER, is_refusal
from embed_index.pipeline.milvus.sdk import DataType, MilvusClient, MilvusException
from embed_index.pipeline.milvus.terms import TERMS_INDEX, has_terms
from embed_index.schemas.columns import RESERVED_COLUMNS, TEXT_TERMS, CarriedColumn
from embed_index.schemas.errors import ConfigurationError

_METADATA_SECONDS = 20.0
_LOAD_SECONDS = 600.0
_OF_TEXT = ("INVERTED", "Trie")
_OF_NUMBERS = ("INVERTED", "STL_SORT")
_SCALAR_INDEXES: Mapping[DataType, Sequence[str]] = {
    DataType.VARCHAR: _OF_TEXT,
    DataType.INT64: _OF_NUMBERS,
    DataType.DOUBLE: _OF_NUMBERS,
    DataType.BOOL: ("INVERTED",),
}
"""Milvus 2.3 knows only the second ones."""


class VersionIndexes:
    """The indexes of versions; safe to share by threads."""

    def __init__(self, connection: MilvusConnection) -> None:
        self._connection = connection

    def check(self, wanted: Arrangement, *, carried: Sequence[CarriedColumn]) -> None:
        """Refuse what this Milvus is known not to do, or what is not carried.

        Raises:
            ConfigurationError: It is.
            StoreError: Milvus stays away.
        """
        wanted.check(ask_target(self._connection), carried=carried)
        # Whoever asks for nothing special need not be allowed to ask for nodes.
        if wanted.placement.load_options():
            wanted.placement.check_nodes(self._nodes(), uri=self._connection.address.uri)

    def _nodes(self) -> dict[str, int]:
        def ask(client: MilvusClient) -> dict[str, int]:
            seconds = self._connection.call_seconds
            return {
                name: client.describe_resource_group(name, timeout=seconds).num_available_node
                for name in client.list_resource_groups(timeout=seconds)
            }

        return self._connection.call(ask, doing="reading the resource groups")

    def read(self, version: str) -> MadeArrangement:
        """Return what a version has."""

        def describe(client: MilvusClient) -> MadeArrangement:
            return _described(client, version, seconds=self._connection.call_seconds)

        return self._connection.call(describe, doing=f"reading the indexes of {version!r}")

    def make(self, version: str, wanted: Arrangement) -> None:
        """Make the indexes that a version lacks, and say how it is loaded.

        Raises:
            ConfigurationError: This Milvus does not make such an index over vectors.
        """
        self._make_vector_index(version, wanted.vectors)

        def make(client: MilvusClient) -> None:
            made = _described(client, version, seconds=_METADATA_SECONDS)
            types = _field_types(client, version)
            for name in wanted.scalars:
                if name not in made.scalars:
                    _create_scalar_index(client, version, name, types[name])

        if wanted.scalars:
            self._connection.call(make, doing=f"indexing columns of {version!r}")
        self._place(version, wanted.placement)

    def _place(self, version: str, placement: Placement) -> None:
        def place(client: MilvusClient) -> None:
            if not _placement(client, version).is_(placement):
                client.alter_collection_properties(
                    version, properties=placement.properties(), timeout=_METADATA_SECONDS
                )

        self._connection.call(place, doing=f"changing the properties of {version!r}")

    def _make_vector_index(self, version: str, index: VectorIndex) -> None:
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
                    metric_type=index.milvus_metric,
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
        self,
        version: str,
        wanted: Arrangement,
        *,
        before_change: Callable[[Changes], None] = lambda _: None,
    ) -> bool:
        """Give a version other indexes over the same rows; False where it has those.

        It is out of memory meanwhile, so that searches of it fail or wait. Where Milvus does not
        make the new index over the vectors, all is again as it was.

        Args:
            version: The version, which is in memory afterwards.
            wanted: What it shall have; checked.
            before_change: Called with what will be done before anything is.

        Raises:
            ConfigurationError: This Milvus does not make such an index.
        """
        made = self.read(version)
        changes = made.changes_to(wanted, embedded=self._connection.embedded)
        if not changes:
            self._load(version)
            return False
        before_change(changes)
        dropped = [made.scalars[column] for column in changes.drop]

        def undress(client: MilvusClient) -> None:
            # A server does not load what has other indexes than the one in memory.
            client.release_collection(version, timeout=_LOAD_SECONDS)
            there = client.list_indexes(version, timeout=_METADATA_SECONDS)
            for name in (*(() if changes.vectors is None else ("embedding",)), *dropped):
                if name in there:
                    drop_index(client, version, name, embedded=self._connection.embedded)

        self._connection.call(undress, doing=f"dropping indexes of {version!r}")
        try:
            self.make(version, wanted)
        except ConfigurationError:
            self.make(version, made.as_wanted())
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


def _described(client: MilvusClient, version: str, *, seconds: float) -> MadeArrangement:
    scalars = {}
    for name in client.list_indexes(version, timeout=seconds):
        if name in RESERVED_COLUMNS or name == TEXT_TERMS:
            continue
        described = client.describe_index(version, name, timeout=seconds) or {}
        # Somebody else may have given it another name than the column's.
        column = str(described.get("field_name", name))
        if column not in RESERVED_COLUMNS and column != TEXT_TERMS:
            scalars[column] = name
    return MadeArrangement(
        vectors=described_index(client, version, seconds=seconds),
        scalars=scalars,
        placement=_placement(client, version),
    )


def _placement(client: MilvusClient, version: str) -> Placement:
    described = client.describe_collection(version, timeout=_METADATA_SECONDS)
    return Placement.read(described["properties"])


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
        _create_scalar_index(client, collection, "doc_id", DataType.VARCHAR)
    described = client.describe_collection(collection, timeout=_METADATA_SECONDS)
    if TEXT_TERMS not in indexed and has_terms(described):
        _create_index(client, collection, TEXT_TERMS, TERMS_INDEX, metric_type="BM25")
    options = Placement.read(described["properties"]).load_options()
    client.load_collection(collection, timeout=_LOAD_SECONDS, **options)


def _field_types(client: MilvusClient, version: str) -> dict[str, DataType]:
    described = client.describe_collection(version, timeout=_METADATA_SECONDS)
    return {field["name"]: DataType(field["type"]) for field in described["fields"]}


def drop_index(client: MilvusClient, collection: str, name: str, *, embedded: bool) -> None:
    """Drop one index of a collection that is not in memory."""
    # Milvus Lite tells other names than it knows, and drops all where it does not know one.
    client.drop_index(collection, f"{name}_idx" if embedded else name, timeout=_LOAD_SECONDS)


def _create_scalar_index(
    client: MilvusClient, collection: str, field: str, data_type: DataType
) -> None:
    *preferred, last = _SCALAR_INDEXES[data_type]
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
