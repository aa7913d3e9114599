"""`embed-index collections`: which there are."""

import click

from embed_index.jobs.cli.options import SettingCommand, job_file_option, version_options
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@job_file_option
@with_settings()
@version_options
def collections(*, settings: JobSettings, as_json: bool) -> None:
    """List the collections of a Milvus and of a state folder.

    Those of which only the state folder knows are in another Milvus, or were dropped there. Counts
    are the ledgers'.

    \b
    embed-index collections
    embed-index collections --json --milvus-uri http://milvus:19530
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.collections.listing import (
        collections_as_json,
        collections_as_text,
        list_collections,
    )

    listed = list_collections(settings)
    click.echo(collections_as_json(listed) if as_json else collections_as_text(listed))
