"""`embed-index retry`: dead letters again."""

import sys
from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    corpus_options,
    job_file_option,
    show_config_option,
)
from embed_index.jobs.settings.loading import load_settings
from embed_index.jobs.settings.show import render_config
from embed_index.schemas.errors import DeadLetterLimitError


@click.command(cls=SettingCommand)
@click.argument("collection")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@show_config_option
@corpus_options
def retry(
    *,
    collection: str,
    as_json: bool,
    job_file: Path | None,
    show_config: bool,
    **flags: Any,
) -> None:
    """Embed the open dead letters that can be embedded now.

    Their rows are read again, and nothing else is touched. A letter is closed when its document is
    in the collection, and gains an attempt when it is refused again. More than --max-dead-letters
    that remain end with exit code 3.

    \b
    embed-index retry articles --job nightly.toml
    embed-index retry articles --job nightly.toml --json
    """  # noqa: D301 - Click wants the character
    required = () if show_config else ("input",)
    loaded = load_settings(
        job_file=job_file, flags={**flags, "collection": collection}, required=required
    )
    if show_config:
        click.echo(render_config(loaded))
        return

    from embed_index.jobs.cli.progress import open_reporter
    from embed_index.jobs.runs.retry import retry_dead_letters
    from embed_index.jobs.runs.retry_text import retried_as_json, retried_as_text

    with open_reporter(loaded.settings, stdout=sys.stderr) as reporter:
        retried = retry_dead_letters(loaded.settings, reporter=reporter)
    click.echo(retried_as_json(retried) if as_json else retried_as_text(retried))
    num_remaining = len(retried.remaining)
    if num_remaining > retried.num_allowed:
        raise DeadLetterLimitError(
            f"{collection}: {num_remaining:,} dead letters remain, and"
            f" {retried.num_allowed:,} are allowed",
            remedy="Mend the rows that they name, or raise --max-dead-letters.",
        )
