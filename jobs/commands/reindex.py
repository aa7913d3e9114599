"""`embed-index reindex`: other indexes over the same rows."""

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    collection_argument,
    index_options,
    job_file_option,
)
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@collection_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@with_settings()
@index_options
def reindex(*, settings: JobSettings, as_json: bool) -> None:
    """Give a collection other indexes over the rows that it has.

    They are those that the job names, and nothing is embedded. The version that searches see is out
    of memory until its new indexes are made: searches of it fail or wait. What a job says of texts
    needs `run --rebuild` instead.

    \b
    embed-index reindex articles --job nightly.toml
    embed-index reindex articles --index-type hnsw --scalar-indexes lang
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.collections.reindexing import reindex_collection
    from embed_index.jobs.collections.text import reindexed_as_json, reindexed_as_text

    done = reindex_collection(settings, tell=lambda text: click.echo(text, err=True))
    click.echo(reindexed_as_json(done) if as_json else reindexed_as_text(done))
