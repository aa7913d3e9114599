"""`embed-index keys rotate`: a new key for the running server."""

from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    job_file_option,
    key_place_options,
    rotation_options,
)
from embed_index.jobs.settings.loading import load_settings


@click.command(cls=SettingCommand)
@key_place_options
@job_file_option
@rotation_options
def rotate(
    *, key_file: Path | None, env_file: Path | None, job_file: Path | None, **flags: Any
) -> None:
    """Give the running server a new key, and prove the old one dead.

    The new key is written, and the `embed-index serve` that runs from --state-dir is sent SIGHUP:
    it finishes what is in flight and starts again. Success means that the new key opens the server
    and the old one gives 401. Otherwise the old key is put back, and the exit code is 4.

    \b
    embed-index keys rotate --key-file key
    embed-index keys rotate --env-file .env --state-dir /var/lib/embed-index
    """  # noqa: D301 - Click wants the character
    settings = load_settings(job_file=job_file, flags=flags).settings

    from embed_index.jobs.serving.key_places import choose_place
    from embed_index.jobs.serving.key_rotation import rotate_key

    place = choose_place(key_file=key_file, env_file=env_file)
    url = rotate_key(
        place, state_dir=settings.state_dir, patience_seconds=settings.start_timeout_seconds
    )
    click.echo(f"{url} takes the new key in {place.path} and refuses the old one")
