"""`embed-index deploy milvus-roles`: who may do what in Milvus."""

from pathlib import Path

import click

from embed_index.jobs.deployment.options import deployed_settings, job_option
from embed_index.jobs.settings.loading import load_settings


@click.command()
@job_option
@click.option("--apply", is_flag=True, help="Make the roles now, with the token of MILVUS_TOKEN.")
def milvus_roles(*, job_file: Path, apply: bool) -> None:
    """Print or apply roles of Milvus, to load and to read.

    Both are for the job's database alone. What is printed is a program for Milvus' administrator;
    --apply does the same from here, and is an administrator's, too.

    \b
    embed-index deploy milvus-roles --job nightly.toml > roles.py
    embed-index deploy milvus-roles --job nightly.toml --apply
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.adapters.places import tls_files
    from embed_index.jobs.collections.roles import (
        administered,
        grant_roles,
        granted_as_text,
        wanted_roles,
    )
    from embed_index.jobs.deployment.deployment import absolute
    from embed_index.jobs.deployment.milvus_roles import roles_program

    job_file = absolute(job_file)
    if apply:
        granted = grant_roles(load_settings(job_file=job_file).settings)
        click.echo(granted_as_text(granted))
        return
    settings = deployed_settings(job_file, server_port=None)
    program = roles_program(
        wanted_roles(settings),
        uri=administered(settings).milvus_uri,
        tls=tls_files(settings),
        job_file=job_file,
    )
    click.echo(program, nl=False)
