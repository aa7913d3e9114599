"""`embed-index promote`: the alias moves to a version."""

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
@click.argument("version", required=False)
@click.option("--force", is_flag=True, help="Promote it although it cannot be checked.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@show_config_option
@version_options
def promote(
    *,
    collection: str,
    version: str | None,
    force: bool,
    as_json: bool,
    job_file: Path | None,
    show_config: bool,
    **flags: Any,
) -> None:
    """Point a collection's name at one of its versions.

    VERSION is a name or a number, and the newest where it is left out. The version is checked
    first: that it was finished, its rows by number, and that chunks are found by their own vectors.

    \b
    embed-index promote articles
    embed-index promote articles 3
    embed-index promote articles articles_v3 --json --job nightly.toml
    """  # noqa: D301 - Click wants the character
    loaded = load_settings(job_file=job_file, flags={**flags, "collection": collection})
    if show_config:
        click.echo(render_config(loaded))
        return

    from embed_index.jobs.collections.text import move_as_json, move_as_text
    from embed_index.jobs.collections.versions import promote_version

    move = promote_version(loaded.settings, version=version, force=force)
    click.echo(move_as_json(move) if as_json else move_as_text(move))
