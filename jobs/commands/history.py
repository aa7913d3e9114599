"""`embed-index history`: what the runs of a collection did."""

from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    job_file_option,
    ledger_options,
    show_config_option,
)
from embed_index.jobs.settings.loading import load_settings
from embed_index.jobs.settings.show import render_config


@click.command(cls=SettingCommand)
@click.argument("collection")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N runs.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@job_file_option
@show_config_option
@ledger_options
def history(
    *,
    collection: str,
    limit: int | None,
    as_json: bool,
    job_file: Path | None,
    show_config: bool,
    **flags: Any,
) -> None:
    """List what the runs of a collection did.

    Newest first; times are UTC. A run that ended without a word, as by a power cut, has died.

    \b
    embed-index history articles
    embed-index history articles --limit 7 --json
    """  # noqa: D301 - Click wants the character
    loaded = load_settings(job_file=job_file, flags={**flags, "collection": collection})
    if show_config:
        click.echo(render_config(loaded))
        return

    from embed_index.jobs.runs.history import read_history
    from embed_index.jobs.runs.history_text import history_as_json, history_as_text

    runs = read_history(loaded.settings, limit=limit)
    click.echo(history_as_json(runs) if as_json else history_as_text(runs))
