"""`embed-index gc`: old versions are dropped."""

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
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    required=True,
    metavar="K",
    help="How many versions to keep besides the live one, the newest first.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@show_config_option
@version_options
def gc(
    *,
    collection: str,
    keep: int,
    dry_run: bool,
    as_json: bool,
    job_file: Path | None,
    show_config: bool,
    **flags: Any,
) -> None:
    """Drop old versions of a collection; never the live one.

    A rebuild that was interrupted stays, because the next run with --rebuild continues it; --keep 0
    leaves nothing but the live version.

    \b
    embed-index gc articles --keep 1
    embed-index gc articles --keep 2 --dry-run
    """  # noqa: D301 - Click wants the character
    loaded = load_settings(job_file=job_file, flags={**flags, "collection": collection})
    if show_config:
        click.echo(render_config(loaded))
        return

    from embed_index.jobs.collections.text import cleanup_as_json, cleanup_as_text
    from embed_index.jobs.collections.versions import remove_versions

    cleanup = remove_versions(loaded.settings, keep=keep, dry_run=dry_run)
    render = cleanup_as_json if as_json else cleanup_as_text
    click.echo(render(cleanup, dry_run=dry_run))
