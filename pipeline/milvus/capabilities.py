"""What each Milvus can do: one table, asked before the first document.

Milvus Lite takes much that it then passes over, and so do old servers. What a target is not known
to do is refused by name.
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from embed_index.pipeline.milvus.connection import MilvusConnection
from embed_index.pipeline.milvus.sdk import MilvusClient
from embed_index.schemas.errors import ConfigurationError

_VERSION = re.compile(r"([0-9]+)\.([0-9]+)")

Ability: TypeAlias = Literal[
    "null",
    "words",
    "json",
    "boolean_index",
    "mmap",
    "partition_key",
    "half_vectors",
    "replicas",
    "shards",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """Something that not every Milvus does."""

    does: str
    """In words, after the name of a Milvus."""
    embedded: bool
    """Whether Milvus Lite does it."""
    since: tuple[int, int] = (2, 3)
    """The first server that does it."""


CAPABILITIES: dict[Ability, Capability] = {
    "null": Capability(does="holds null", embedded=True, since=(2, 5)),
    "words": Capability(does="searches by words", embedded=True, since=(2, 5)),
    # Before, what is no object is refused row by row.
    "json": Capability(does="takes any JSON", embedded=True, since=(2, 4)),
    "boolean_index": Capability(does="indexes booleans", embedded=True, since=(2, 4)),
    "mmap": Capability(does="maps files into memory", embedded=False, since=(2, 4)),
    # Before, upserted rows stood in another partition than the one that filters look into.
    "partition_key": Capability(
        does="finds upserted rows by a partition key", embedded=True, since=(2, 4)
    ),
    # Before, float16 is stored, and searched with wrong scores.
    "half_vectors": Capability(
        does="searches vectors of two bytes a number", embedded=False, since=(2, 4)
    ),
    "replicas": Capability(does="has replicas and resource groups", embedded=False),
    "shards": Capability(does="has shards", embedded=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MilvusTarget:
    """A Milvus, as far as decides what it can do."""

    uri: str
    version: str
    """As a server spells it; one that is no number is taken at its word."""
    embedded: bool = False

    def can(self, ability: Ability) -> bool:
        """Tell whether it does something."""
        capability = CAPABILITIES[ability]
        if self.embedded:
            return capability.embedded
        found = _VERSION.search(self.version)
        return found is None or (int(found[1]), int(found[2])) >= capability.since

    def require(self, ability: Ability, *, setting: str) -> None:
        """Refuse a setting that asks for what it does not do.

        Raises:
            ConfigurationError: It does not.
        """
        if self.can(ability):
            return
        capability = CAPABILITIES[ability]
        since = ".".join(map(str, capability.since))
        if self.embedded:
            raise ConfigurationError(
                f"{setting}: only a Milvus server {capability.does}, and {self.uri} is Milvus Lite",
                remedy=f"Use a Milvus server from {since} on, or leave {setting} out.",
            )
        raise ConfigurationError(
            f"{setting}: Milvus at {self.uri} is {self.version}, and {capability.does} from"
            f" {since} on",
            remedy=f"Upgrade that Milvus, or leave {setting} out.",
        )


def ask_target(connection: MilvusConnection) -> MilvusTarget:
    """Return what a connection leads to.

    Raises:
        StoreError: Milvus stays away.
    """

    def ask(client: MilvusClient) -> str:
        return str(client.get_server_version(timeout=connection.call_seconds))

    return MilvusTarget(
        uri=connection.address.uri,
        version=connection.call(ask, doing="reading the version"),
        embedded=connection.embedded,
    )
