"""`embed-index describe`: how a collection was made and what it holds."""

from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    job_file_option,
    show_config_option,
    store_options,
)
from embed_index.jobs.settings.loading import load_settings
from embed_index.jobs.settings.show import render_config


@click.command(cls=SettingCommand)
@click.argument("collection")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@show_config_option
@store_options
def describe(
    *, collection: str, as_json: bool, job_file: Path | None, show_config: bool, **flags: Any
) -> None:
    """Show how a collection was made and what it holds.

    Its contract (model, dimension, prompts, chunking), the versions behind its name, and counts.

    \b
    embed-index describe articles
    embed-index describe articles --json --milvus-uri http://milvus:19530
    """  # noqa: D301 - Click wants the character
    loaded = load_settings(job_file=job_file, flags=flags)
    if show_config:
        click.echo(render_config(loaded))
        return

    from embed_index.jobs.collections.description import describe_collection
    from embed_index.jobs.collections.text import description_as_json, description_as_text

    description = describe_collection(loaded.settings, collection=collection)
    click.echo(description_as_json(description) if as_json else description_as_text(description))
