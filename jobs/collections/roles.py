"""The roles of a job's Milvus: which it needs, and granting them."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from embed_index.jobs.adapters.places import milvus_database, open_job_store
from embed_index.pipeline.milvus.address import parse_address
from embed_index.pipeline.milvus.roles import GrantedRole, Role, roles_of
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.settings import JobSettings


def administered(settings: JobSettings) -> JobSettings:
    """Return the settings of a connection from which roles are granted.

    It names no database, for that of the job may have to be made first.

    Raises:
        ConfigurationError: The job is on Milvus Lite.
    """
    if parse_address(settings.milvus_uri).embedded_path is not None:
        raise ConfigurationError(
            f"{settings.milvus_uri} is Milvus Lite, which has neither users nor roles",
            remedy="Whoever may read its files may read the collections: see to their modes.",
        )
    plain = urlsplit(settings.milvus_uri)._replace(path="").geturl()
    return settings.model_copy(update={"milvus_uri": plain, "milvus_db": ""})


def wanted_roles(settings: JobSettings) -> tuple[Role, Role]:
    """Return the role that loads and the one that reads the job's database."""
    return roles_of(milvus_database(settings))


def grant_roles(settings: JobSettings) -> Sequence[GrantedRole]:
    """Make both roles, as the administrator whose token the settings have.

    Raises:
        ConfigurationError: The job is on Milvus Lite.
        StoreError: Milvus stays away, or the token is no administrator's.
    """
    with open_job_store(administered(settings)) as store:
        return [store.roles.grant(role) for role in wanted_roles(settings)]


def granted_as_text(granted: Sequence[GrantedRole]) -> str:
    """Return what roles there are now, a line each, and what somebody else granted to them."""
    lines = []
    for each in granted:
        lines.append(f"{each.role.name}: granted in database {each.role.database}")
        if each.surplus:
            lines.append(f"  it may more than this program needs: {', '.join(each.surplus)}")
    return "\n".join(lines)
