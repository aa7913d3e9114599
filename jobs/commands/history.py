"""`embed-index history`: what the runs of a collection did."""

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
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N runs.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@job_file_option
@with_settings()
@ledger_options
def history(*, settings: JobSettings, limit: int | None, as_json: bool) -> None:
    """List what the runs of a collection did.

    Newest first; times are UTC. A run that ended without a word, as by a power cut, has died.

    \b
    embed-index history articles
    embed-index history articles --limit 7 --json
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.runs.history import read_history
    from embed_index.jobs.runs.history_text import history_as_json, history_as_text

    runs = read_history(settings, limit=limit)
    click.echo(history_as_json(runs) if as_json else history_as_text(runs))
