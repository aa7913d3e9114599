"""`embed-index promote`: the alias moves to a version."""

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    collection_argument,
    job_file_option,
    key_file_option,
    promotion_options,
)
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@collection_argument
@click.argument("version", required=False)
@click.option("--force", is_flag=True, help="Promote it although it cannot be checked.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@key_file_option
@with_settings()
@promotion_options
def promote(*, settings: JobSettings, version: str | None, force: bool, as_json: bool) -> None:
    """Point a collection's name at one of its versions.

    VERSION is a name or a number, and the newest where it is left out. The version is checked
    first: that it was finished, its rows by number, and that chunks are found by their own vectors.
    Where the job names queries under [quality], it must also find no worse than the job allows;
    --ungated promotes it all the same.

    \b
    embed-index promote articles
    embed-index promote articles 3
    embed-index promote articles 3 --ungated
    embed-index promote articles articles_v3 --json --job nightly.toml
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.collections.show_hits import tell
    from embed_index.jobs.collections.text import move_as_json, move_as_text
    from embed_index.jobs.evaluation.promotion import promote_version

    move = promote_version(settings, version=version, force=force, tell=tell)
    click.echo(move_as_json(move) if as_json else move_as_text(move))
