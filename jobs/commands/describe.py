"""`embed-index describe`: how a collection was made and what it holds."""

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    job_file_option,
    store_options,
)
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@click.argument("collection")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@with_settings()
@store_options
def describe(*, settings: JobSettings, collection: str, as_json: bool) -> None:
    """Show how a collection was made and what it holds.

    Its contract (model, dimension, prompts, chunking), the versions behind its name, and counts.

    \b
    embed-index describe articles
    embed-index describe articles --json --milvus-uri http://milvus:19530
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.collections.description import describe_collection
    from embed_index.jobs.collections.text import description_as_json, description_as_text

    description = describe_collection(settings, collection=collection)
    click.echo(description_as_json(description) if as_json else description_as_text(description))
