"""Milvus' roles for those who load collections and those who search them, in one database.

Milvus grants creating, naming and dropping collections for a database as a whole, and versions have
names that nobody knows beforehand. So a database is the fence between those who load.
"""

from dataclasses import dataclass

from embed_index.pipeline.milvus.connection import MilvusConnection
from embed_index.pipeline.milvus.sdk import MilvusClient

_READ_IN_GENERAL = ("DescribeCollection", "ShowCollections", "DescribeAlias", "ListAliases")
_READ_COLLECTIONS = ("IndexDetail", "GetLoadState", "GetLoadingProgress", "Load", "Query", "Search")
_LOAD_IN_GENERAL = (
    *_READ_IN_GENERAL,
    "CreateCollection",
    "DropCollection",
    "CreateAlias",
    "DropAlias",
    "ListResourceGroups",
    "DescribeResourceGroup",
)
_LOAD_COLLECTIONS = (
    *_READ_COLLECTIONS,
    "Upsert",
    "Delete",
    "Flush",
    "GetFlushState",
    "CreateIndex",
    "DropIndex",
    "Release",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What a role may do in a database, and nowhere else."""

    name: str
    database: str
    general: tuple[str, ...]
    """Privileges of Milvus' kind Global, in its words."""
    collections: tuple[str, ...]
    """Those of the kind Collection, for all collections of the database."""

    @property
    def privileges(self) -> tuple[tuple[str, str], ...]:
        """Kind and name of each privilege."""
        return (
            *(("Global", name) for name in self.general),
            *(("Collection", name) for name in self.collections),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedRole:
    """A role as Milvus has it now."""

    role: Role
    surplus: tuple[str, ...]
    """What it may do besides, granted by somebody else."""


def roles_of(database: str) -> tuple[Role, Role]:
    """Return the role that loads and the one that reads in a database."""
    return (
        Role(
            name=f"embed_index_loader_{database}",
            database=database,
            general=_LOAD_IN_GENERAL,
            collections=_LOAD_COLLECTIONS,
        ),
        Role(
            name=f"embed_index_reader_{database}",
            database=database,
            general=_READ_IN_GENERAL,
            collections=_READ_COLLECTIONS,
        ),
    )


class AccessRoles:
    """The roles of a Milvus server, for its administrator."""

    def __init__(self, connection: MilvusConnection) -> None:
        self._connection = connection

    def grant(self, role: Role) -> GrantedRole:
        """Make a role and its database where they are missing, and grant what it lacks.

        Raises:
            StoreError: Milvus stays away, or the user of the token is no administrator.
        """

        def grant(client: MilvusClient) -> GrantedRole:
            seconds = self._connection.call_seconds
            if role.database not in client.list_databases(timeout=seconds):
                client.create_database(role.database, timeout=seconds)
            if role.name not in client.list_roles(timeout=seconds):
                client.create_role(role.name, timeout=seconds)
            there = self._granted(client, role.name)
            for kind, name in role.privileges:
                if (kind, name, role.database) not in there:
                    client.grant_privilege(
                        role.name, kind, name, "*", db_name=role.database, timeout=seconds
                    )
            wanted = {(kind, name, role.database) for kind, name in role.privileges}
            surplus = sorted(f"{name} in {database}" for _, name, database in there - wanted)
            return GrantedRole(role=role, surplus=tuple(surplus))

        return self._connection.call(grant, doing=f"granting to the role {role.name!r}")

    def _granted(self, client: MilvusClient, role: str) -> set[tuple[str, str, str]]:
        """Return kind, name and database of what a role may do, which Milvus tells by database."""
        seconds = self._connection.call_seconds
        described = [
            client.describe_role(role, db_name=database, timeout=seconds)
            for database in client.list_databases(timeout=seconds)
        ]
        return {
            (each["object_type"], each["privilege"], each["db_name"])
            for found in described
            for each in found["privileges"]
        }
