"""`embed-index drop`: a collection and all that belongs to it."""

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
@click.option("--yes", is_flag=True, help="Do it; otherwise it is only said what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@with_settings()
@version_options
def drop(*, settings: JobSettings, yes: bool, as_json: bool) -> None:
    """Drop a collection with its versions, ledger and dead letters.

    Its name goes first, then its versions in Milvus, then what the state folder holds of it. The
    corpus is not touched, and a run makes the collection again.

    \b
    embed-index drop articles
    embed-index drop articles --yes
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.collections.removal import (
        removal_as_json,
        removal_as_text,
        remove_collection,
    )

    removal = remove_collection(settings, confirmed=yes)
    click.echo(removal_as_json(removal) if as_json else removal_as_text(removal))
