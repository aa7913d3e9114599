"""`embed-index retry`: dead letters again."""

import sys

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    collection_argument,
    corpus_options,
    job_file_option,
)
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.errors import DeadLetterLimitError
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@collection_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@with_settings(required=("input",))
@corpus_options
def retry(*, settings: JobSettings, as_json: bool) -> None:
    """Embed the open dead letters that can be embedded now.

    Their rows are read again, and nothing else is touched. A letter is closed when its document is
    in the collection, and gains an attempt when it is refused again. More than --max-dead-letters
    that remain end with exit code 3.

    \b
    embed-index retry articles --job nightly.toml
    embed-index retry articles --job nightly.toml --json
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.cli.progress import open_reporter
    from embed_index.jobs.runs.retry import retry_dead_letters
    from embed_index.jobs.runs.retry_text import retried_as_json, retried_as_text

    # A few documents are no work for a cluster.
    settings = settings.model_copy(update={"ray": ""})
    with open_reporter(settings, stdout=sys.stderr) as reporter:
        retried = retry_dead_letters(settings, reporter=reporter)
    click.echo(retried_as_json(retried) if as_json else retried_as_text(retried))
    num_remaining = len(retried.remaining)
    if num_remaining > retried.num_allowed:
        raise DeadLetterLimitError(
            f"{settings.collection}: dead letters that remain: {num_remaining:,}, more than the"
            f" {retried.num_allowed:,} allowed",
            remedy="Mend the rows that they name, or raise --max-dead-letters.",
        )
