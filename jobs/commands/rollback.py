"""`embed-index rollback`: the alias moves back."""

from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    job_file_option,
    show_config_option,
    version_options,
)
from embed_index.jobs.settings.loading import load_settings
from embed_index.jobs.settings.show import render_config


@click.command(cls=SettingCommand)
@click.argument("collection")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@show_config_option
@version_options
def rollback(
    *,
    collection: str,
    as_json: bool,
    job_file: Path | None,
    show_config: bool,
    **flags: Any,
) -> None:
    """Point a collection's name at the version before the live one.

    Searches see the earlier version at once. It holds what it held when it stopped being live; the
    next run brings it in step with the corpus.

    \b
    embed-index rollback articles
    embed-index rollback articles --milvus-uri http://milvus:19530
    """  # noqa: D301 - Click wants the character
    loaded = load_settings(job_file=job_file, flags={**flags, "collection": collection})
    if show_config:
        click.echo(render_config(loaded))
        return

    from embed_index.jobs.collections.text import move_as_json, move_as_text
    from embed_index.jobs.collections.versions import roll_back_version

    move = roll_back_version(loaded.settings)
    click.echo(move_as_json(move) if as_json else move_as_text(move))
