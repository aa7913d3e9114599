"""`embed-index keys destroy`: the end of a key."""

from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    destruction_options,
    job_file_option,
    key_place_options,
)
from embed_index.jobs.settings.loading import load_settings


@click.command(cls=SettingCommand)
@key_place_options
@job_file_option
@destruction_options
def destroy(
    *, key_file: Path | None, env_file: Path | None, job_file: Path | None, **flags: Any
) -> None:
    """Overwrite and remove a key.

    The file goes, or the entry of the .env file. A server that runs keeps its key in memory: the
    ones at --server-url and from --state-dir are asked whether they still take it. Backups,
    snapshots and file systems that copy on write may hold the old file.

    \b
    embed-index keys destroy --key-file key
    embed-index keys destroy --env-file .env
    """  # noqa: D301 - Click wants the character
    settings = load_settings(job_file=job_file, flags=flags).settings

    from embed_index.jobs.serving.access import key_takers_as_text
    from embed_index.jobs.serving.key_life import destroy_key
    from embed_index.jobs.serving.key_places import choose_place

    place = choose_place(key_file=key_file, env_file=env_file)
    asked = destroy_key(place, settings)
    click.echo(f"the key is gone from {place.path}")
    click.echo(key_takers_as_text(asked))
