"""Collection versions behind an alias.

What users call a collection is an alias; behind it stand versions `NAME_v1`, `NAME_v2`, …. Each
operation here can be run again after an interruption at any point.
"""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embed_index.pipeline.milvus.arrangement import DEFAULT_ARRANGEMENT, Arrangement
from embed_index.pipeline.milvus.capabilities import MilvusTarget, ask_target
from embed_index.pipeline.milvus.connection import MilvusConnection
from embed_index.pipeline.milvus.requests import list_aliases, read_alias, send_describe
from embed_index.pipeline.milvus.retry import (
    ALIAS_NOT_FOUND,
    COLLECTION_NOT_FOUND,
)
from embed_index.pipeline.milvus.schema import (
    CONTRACT_PROPERTY,
    CollectionLayout,
    build_schema,
    contract_text,
    read_contract,
    read_layout,
)
from embed_index.pipeline.milvus.sdk import MilvusClient, MilvusException
from embed_index.pipeline.milvus.version_indexes import VersionIndexes, load_collection
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.names import check_collection_name

_VERSION_NAME = re.compile(r"(?P<alias>[A-Za-z_][A-Za-z0-9_]*)_v(?P<number>[1-9][0-9]*)", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveVersion:
    """What a collection's name stands for at a moment; `find` returns the same object for it."""

    name: str
    contract: CollectionContract
    layout: CollectionLayout


class CollectionVersions:
    """Creates, names, reads and drops the versions of collections; safe to share by threads."""

    def __init__(self, connection: MilvusConnection) -> None:
        self._connection = connection
        self.indexes = VersionIndexes(connection)
        """Their indexes."""
        self._layouts: dict[str, CollectionLayout] = {}
        self._found: dict[tuple[str, str], LiveVersion] = {}
        self._lock = threading.Lock()

    def create(
        self,
        alias: str,
        *,
        contract: CollectionContract,
        carried: Sequence[CarriedColumn] = (),
        arrangement: Arrangement = DEFAULT_ARRANGEMENT,
    ) -> str:
        """Create the next version, indexed and loaded, and return its name.

        Raises:
            ConfigurationError: The name is unusable or belongs to a plain collection, or Milvus
                cannot hold a carried column, or has no such index.
        """
        self.check_alias(alias)
        version = self.next_name(alias)
        schema = build_schema(contract, carried=carried, embedded=self._connection.embedded)
        # Milvus Lite forgets the description.
        properties = (
            {CONTRACT_PROPERTY: contract.model_dump_json()} if self._connection.embedded else {}
        )

        def create(client: MilvusClient) -> None:
            # An earlier attempt may have succeeded without our hearing of it.
            if not client.has_collection(version, timeout=self._connection.call_seconds):
                client.create_collection(
                    version,
                    schema=schema,
                    properties=properties,
                    num_shards=contract.shards,
                    timeout=self._connection.call_seconds,
                )

        self._connection.call(create, doing=f"creating collection {version!r}")
        with self._lock:
            self._layouts[version] = CollectionLayout(
                dimension=contract.dimension,
                carried=tuple(carried),
                text_search=bool(contract.text_analyzer),
                vector_type=contract.vector_type,
            )
        self.indexes.make(version, arrangement)
        self.load(version)
        return version

    def ask_target(self) -> MilvusTarget:
        """Return which Milvus it is, and so what it can do."""
        return ask_target(self._connection)

    def next_name(self, alias: str) -> str:
        """Return the name that the next version will have; no collection bears it."""
        numbers = [version_number(version) for version in self._names(alias)]
        return f"{alias}_v{max(numbers, default=0) + 1}"

    def check_alias(self, alias: str) -> None:
        """Refuse a name that no collection of ours can have.

        Raises:
            ConfigurationError: It breaks Milvus' rules, or a plain collection bears it.
        """
        try:
            check_collection_name(alias)
        except ValueError as error:
            raise ConfigurationError(
                f"{alias!r} cannot be a collection's name: it {error}",
                remedy="Choose another name with --collection.",
            ) from error
        if self.live(alias) is None and self.exists(alias):
            raise ConfigurationError(
                f"{alias!r} is a plain collection; embed-index keeps versions behind an alias",
                remedy="Choose another name, or rename that collection in Milvus.",
            )

    def live(self, alias: str) -> str | None:
        """Return the version behind an alias, None where there is no such alias."""

        def describe(client: MilvusClient) -> str | None:
            return self._live(client, alias)

        return self._connection.call(describe, doing=f"reading alias {alias!r}")

    def live_version(self, alias: str) -> str | None:
        """Return what `live` does, which must be a version of the alias.

        Raises:
            ConfigurationError: Somebody pointed the alias at another collection.
        """
        live = self.live(alias)
        if live is not None and alias_of(live) != alias:
            raise ConfigurationError(
                f"the alias {alias!r} points at {live!r}, which is no version of it",
                remedy="Promote one of its own versions, or drop the alias in Milvus.",
            )
        return live

    def find(self, name: str) -> LiveVersion:
        """Return what a name stands for, an alias or a version, in one request.

        A version that was dropped and made again under its name has another contract, and is
        another version.

        Raises:
            ConfigurationError: There is no such collection, it was made by something else, or by a
                newer version of this program.
        """

        def look(client: MilvusClient) -> LiveVersion | None:
            known = self._known(client, name)
            if known is not None:
                return known
            try:
                described = client.describe_collection(name, timeout=self._connection.call_seconds)
            except MilvusException as error:
                if error.code == COLLECTION_NOT_FOUND:
                    return None
                raise
            return self._recognise(name, described)

        # Milvus is not asked for what cannot be a name: it would answer with an error of its own.
        found = None
        if _NAME.fullmatch(name) is not None:
            found = self._connection.call(look, doing=f"looking for collection {name!r}")
        if found is None:
            raise no_such_collection(name)
        return found

    def _known(self, client: MilvusClient, name: str) -> LiveVersion | None:
        """Return the version that a name stands for if it was found before.

        Each search asks, and pymilvus takes half a millisecond to read what a field is like.
        """
        if not self._found:
            return None
        reply = send_describe(client, name, timeout=self._connection.call_seconds)
        written = {
            "description": reply.schema.description,
            "properties": {each.key: each.value for each in reply.properties},
        }
        with self._lock:
            # What failed has no name, and is asked for in full.
            return self._found.get((reply.schema.name, contract_text(written)))

    def _recognise(self, name: str, described: dict[str, Any]) -> LiveVersion:
        version = str(described["collection_name"])
        read = LiveVersion(
            name=version,
            contract=read_contract(described, collection=name),
            layout=read_layout(described, collection=name),
        )
        with self._lock:
            known = self._found.setdefault((version, contract_text(described)), read)
            self._layouts[version] = known.layout
        return known

    def list(self, alias: str) -> list[str]:
        """Return the names of all versions, the oldest first, finished and half-built alike.

        What others made under such a name is left out.
        """
        return [name for name in self._names(alias) if self._is_ours(name)]

    def aliases(self) -> Sequence[str]:
        """Return the names behind which there are versions, finished or not, in their order."""
        names = self._all_names()
        ours = {alias_of(name) for name in names if alias_of(name) and self._is_ours(name)}
        return sorted(alias for alias in ours if alias)

    def drop_alias(self, alias: str) -> None:
        """Drop a collection's name; its versions stay. One that is not there is no error."""

        def drop(client: MilvusClient) -> None:
            if self._live(client, alias) is not None:
                client.drop_alias(alias, timeout=self._connection.call_seconds)

        self._connection.call(drop, doing=f"dropping alias {alias!r}")

    def _is_ours(self, name: str) -> bool:
        try:
            self.layout(name)
        except ConfigurationError:
            return False
        return True

    def _names(self, alias: str) -> Sequence[str]:
        names = self._all_names()
        return sorted((name for name in names if alias_of(name) == alias), key=version_number)

    def _all_names(self) -> Sequence[str]:
        def list_all(client: MilvusClient) -> Sequence[str]:
            return tuple(client.list_collections(timeout=self._connection.call_seconds))

        return self._connection.call(list_all, doing="listing collections")

    def exists(self, name: str) -> bool:
        """Say whether a collection or an alias bears this name."""

        def look(client: MilvusClient) -> bool:
            return bool(client.has_collection(name, timeout=self._connection.call_seconds))

        return self._connection.call(look, doing=f"looking for collection {name!r}")

    def set_live(self, alias: str, *, version: str) -> None:
        """Point the alias at a version, indexed and loaded first if a crash left it half-built.

        Readers see the old version or the new one, never neither.

        Raises:
            ConfigurationError: The version is not one of the alias', or does not exist.
        """
        self.check_alias(alias)
        if alias_of(version) != alias or version not in self.list(alias):
            raise ConfigurationError(
                f"{version!r} is not a version of {alias!r}",
                remedy="See `embed-index describe` for those that exist.",
            )
        self.load(version)

        def point(client: MilvusClient) -> None:
            live = self._live(client, alias)
            if live == version:
                return
            move = client.create_alias if live is None else client.alter_alias
            move(version, alias, timeout=self._connection.call_seconds)

        self._connection.call(point, doing=f"pointing alias {alias!r} at {version!r}")

    def contract(self, version: str) -> CollectionContract:
        """Read the contract that a version was made under.

        Raises:
            ConfigurationError: The collection does not exist or was made by something else.
        """
        return read_contract(self._describe(version), collection=version)

    def carried(self, version: str) -> tuple[CarriedColumn, ...]:
        """Read the carried columns of a version from its schema, in order."""
        return self.layout(version).carried

    def layout(self, version: str) -> CollectionLayout:
        """Return width and carried columns of a version; asked of Milvus once."""
        with self._lock:
            known = self._layouts.get(version)
        if known is None:
            known = read_layout(self._describe(version), collection=version)
            with self._lock:
                self._layouts[version] = known
        return known

    def drop(self, version: str) -> None:
        """Drop a version that no alias points at.

        Raises:
            ConfigurationError: It is not a version's name, is itself an alias (Milvus Lite would
                drop what stands behind it), or is live.
        """
        if alias_of(version) is None:
            raise ConfigurationError(
                f"{version!r} is not a version and is not dropped",
                remedy="Name a version, such as `docs_v1`.",
            )

        def drop(client: MilvusClient) -> str | None:
            if not client.has_collection(version, timeout=self._connection.call_seconds):
                return None
            described = client.describe_collection(version, timeout=self._connection.call_seconds)
            if described["collection_name"] != version:
                return version
            aliases = list_aliases(client, version, timeout=self._connection.call_seconds)
            if aliases:
                return str(aliases[0])
            client.drop_collection(version, timeout=self._connection.call_seconds)
            return None

        in_the_way = self._connection.call(drop, doing=f"dropping collection {version!r}")
        if in_the_way is not None:
            raise ConfigurationError(
                f"{version!r} is live behind the alias {in_the_way!r} and is not dropped",
                remedy="Promote another version first.",
            )
        with self._lock:
            self._layouts.pop(version, None)

    def load(self, version: str) -> None:
        """Make sure that a version has its indexes and is in memory."""
        self._connection.call(
            lambda client: load_collection(
                client, version, vector_index=self._connection.vector_index
            ),
            doing=f"loading collection {version!r}",
        )

    def _describe(self, version: str) -> dict[str, Any]:
        def describe(client: MilvusClient) -> dict[str, Any]:
            return dict(client.describe_collection(version, timeout=self._connection.call_seconds))

        return self._connection.call(describe, doing=f"describing collection {version!r}")

    def _live(self, client: MilvusClient, alias: str) -> str | None:
        try:
            return read_alias(client, alias, timeout=self._connection.call_seconds)
        except MilvusException as error:
            if error.code in (ALIAS_NOT_FOUND, COLLECTION_NOT_FOUND):
                return None
            raise


def no_such_collection(name: str) -> ConfigurationError:
    """Return the error for a name behind which there is nothing."""
    return ConfigurationError(
        f"there is no collection {name!r} of embed-index in this Milvus",
        remedy="Check the name, --milvus-uri and --milvus-db; `embed-index run` makes one.",
    )


def alias_of(version: str) -> str | None:
    """Return the alias that a version's name belongs to, None for other names."""
    match = _VERSION_NAME.fullmatch(version)
    return None if match is None else match["alias"]


def version_number(version: str) -> int:
    """Return the number in a version's name."""
    match = _VERSION_NAME.fullmatch(version)
    if match is None:
        raise ValueError(f"{version!r} is not a version's name")
    return int(match["number"])
