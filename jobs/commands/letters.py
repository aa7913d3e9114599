"""`embed-index letters`: what could not be indexed."""

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
@click.option("--reason", metavar="CODE", help="Only the letters with this reason, each of them.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of all letters.")
@job_file_option
@with_settings()
@ledger_options
def letters(*, settings: JobSettings, reason: str | None, as_json: bool) -> None:
    """Show the open dead letters of a collection, by reason.

    Without --reason, their number and an example for each reason. It asks the ledger, and so works
    beside a run.

    \b
    embed-index letters articles
    embed-index letters articles --reason null_text
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.runs.letters import letters_as_json, letters_as_text, read_letters

    read = read_letters(settings, reason=reason)
    click.echo(letters_as_json(read) if as_json else letters_as_text(read, reason=reason))
