"""A program that makes the roles of Milvus, for an administrator who has nothing but pymilvus."""

import json
import shlex
from pathlib import Path

from embed_index.jobs.deployment.deployment import printable
from embed_index.jobs.deployment.template import fill
from embed_index.pipeline.milvus.roles import Role
from embed_index.pipeline.milvus.tls import TlsFiles


def roles_program(roles: tuple[Role, Role], *, uri: str, tls: TlsFiles, job_file: Path) -> str:
    """Return the program.

    Args:
        roles: The one that loads, and the one that reads.
        uri: Of the server, without a database.
        tls: Files that a connection to it takes.
        job_file: For the other way, which the first lines say.
    """
    loader, _ = roles
    return fill(
        "milvus-roles",
        database=loader.database,
        database_text=json.dumps(loader.database),
        loader=loader.name,
        job_file=shlex.quote(printable(job_file)),
        roles="\n".join(map(_entry, roles)),
        uri=json.dumps(uri),
        tls="\n".join(
            f"    {name}={json.dumps(printable(path))}," for name, path in tls.options().items()
        ),
    )


def _entry(role: Role) -> str:
    kinds = {"Global": role.general, "Collection": role.collections}
    lines = [f"        {json.dumps(kind)}: {json.dumps(names)}," for kind, names in kinds.items()]
    return "\n".join([f"    {json.dumps(role.name)}: {{", *lines, "    },"])
