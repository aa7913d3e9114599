"""`embed-index status`: how a collection is doing."""

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    collection_argument,
    job_file_option,
    ledger_options,
)
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@collection_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@with_settings()
@ledger_options
def status(*, settings: JobSettings, as_json: bool) -> None:
    """Show the last run, and how fresh a collection is.

    It also says whether a run is at work. It asks the ledger and the lock, not Milvus, and so works
    beside a run; counts are the ledger's.

    \b
    embed-index status articles
    embed-index status articles --json --job nightly.toml
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.runs.history import read_status
    from embed_index.jobs.runs.history_text import status_as_json, status_as_text

    read = read_status(settings)
    click.echo(status_as_json(read) if as_json else status_as_text(read))
