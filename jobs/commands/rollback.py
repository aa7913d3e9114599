"""`embed-index rollback`: the alias moves back."""

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    collection_argument,
    job_file_option,
    version_options,
)
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@collection_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@with_settings()
@version_options
def rollback(*, settings: JobSettings, as_json: bool) -> None:
    """Point a collection's name at the version before the live one.

    Searches see the earlier version at once. It holds what it held when it stopped being live; the
    next run brings it in step with the corpus.

    \b
    embed-index rollback articles
    embed-index rollback articles --milvus-uri http://milvus:19530
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.collections.text import move_as_json, move_as_text
    from embed_index.jobs.collections.versions import roll_back_version

    move = roll_back_version(settings)
    click.echo(move_as_json(move) if as_json else move_as_text(move))
