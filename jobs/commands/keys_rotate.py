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

_OVERLAP_MINUTES = 10.0
_MAX_OVERLAP_MINUTES = 7 * 24 * 60


@click.command(cls=SettingCommand)
@key_place_options
@click.option(
    "--overlap-minutes",
    type=click.FloatRange(0, _MAX_OVERLAP_MINUTES),
    default=_OVERLAP_MINUTES,
    show_default=True,
    metavar="X",
    help="How long the old key is taken beside the new one.",
)
@click.option(
    "--finish", is_flag=True, help="End the overlap of a rotation that was interrupted, at once."
)
@job_file_option
@rotation_options
def rotate(
    *,
    key_file: Path | None,
    env_file: Path | None,
    overlap_minutes: float,
    finish: bool,
    job_file: Path | None,
    **flags: Any,
) -> None:
    """Give the running server a new key, and prove the old one dead.

    The `embed-index serve` that runs from --state-dir takes the new key beside the old one, without
    a restart. When both open it, the new one is written, and --overlap-minutes later the old one
    must give 401. On a failure before that the old key stays; the exit code is 4. Killed at
    any moment, the key in its place is taken, and the other one ends at the moment that was said.

    \b
    embed-index keys rotate --key-file key
    embed-index keys rotate --env-file .env --overlap-minutes 0
    embed-index keys rotate --key-file key --finish
    """  # noqa: D301 - Click wants the character
    settings = load_settings(job_file=job_file, flags=flags).settings

    from embed_index.jobs.serving.key_places import choose_place
    from embed_index.jobs.serving.key_rotation import finish_rotation, rotate_key

    place = choose_place(key_file=key_file, env_file=env_file)
    patience = settings.start_timeout_seconds
    if finish:
        url = finish_rotation(place, state_dir=settings.state_dir, patience_seconds=patience)
        click.echo(f"{url} takes the key in {place.path} and refuses the other one")
        return
    url = rotate_key(
        place,
        state_dir=settings.state_dir,
        overlap_seconds=60 * overlap_minutes,
        patience_seconds=patience,
        tell=lambda text: click.echo(text, err=True),
    )
    click.echo(f"{url} takes the new key in {place.path} and refuses the old one")
