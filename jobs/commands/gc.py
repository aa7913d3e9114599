"""`embed-index gc`: old versions are dropped."""

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    collection_argument,
    job_file_option,
    version_options,
)
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@collection_argument
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
@with_settings()
@version_options
def gc(*, settings: JobSettings, keep: int, dry_run: bool, as_json: bool) -> None:
    """Drop old versions of a collection; never the live one.

    A rebuild that was interrupted stays, because the next run with --rebuild continues it; --keep 0
    leaves nothing but the live version.

    \b
    embed-index gc articles --keep 1
    embed-index gc articles --keep 2 --dry-run
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.collections.text import cleanup_as_json, cleanup_as_text
    from embed_index.jobs.collections.versions import remove_versions

    cleanup = remove_versions(settings, keep=keep, dry_run=dry_run)
    render = cleanup_as_json if as_json else cleanup_as_text
    click.echo(render(cleanup, dry_run=dry_run))
