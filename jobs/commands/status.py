"""`embed-index status`: how a collection is doing."""

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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@show_config_option
@ledger_options
def status(
    *,
    collection: str,
    as_json: bool,
    job_file: Path | None,
    show_config: bool,
    **flags: Any,
) -> None:
    """Show the last run, and how fresh a collection is.

    It also says whether a run is at work. It asks the ledger and the lock, not Milvus, and so works
    beside a run; counts are the ledger's.

    \b
    embed-index status articles
    embed-index status articles --json --job nightly.toml
    """  # noqa: D301 - Click wants the character
    loaded = load_settings(job_file=job_file, flags={**flags, "collection": collection})
    if show_config:
        click.echo(render_config(loaded))
        return

    from embed_index.jobs.runs.history import read_status
    from embed_index.jobs.runs.history_text import status_as_json, status_as_text

    read = read_status(loaded.settings)
    click.echo(status_as_json(read) if as_json else status_as_text(read))
