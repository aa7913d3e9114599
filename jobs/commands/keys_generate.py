"""`embed-index keys generate`: a new key in a safe place."""

from pathlib import Path

import click

from embed_index.jobs.cli.options import key_place_options


@click.command()
@key_place_options
def generate(*, key_file: Path | None, env_file: Path | None) -> None:
    """Draw a key and write it where only you can read it.

    The file gets mode 0600; other lines of a .env file stay as they are. Refused: a place that has
    a key already, a .env file that others may read, a folder that others may write to, and in a git
    work tree a file that git does not ignore.

    \b
    embed-index keys generate --key-file key
    embed-index keys generate --env-file .env
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.serving.key_life import generate_key
    from embed_index.jobs.serving.key_places import choose_place

    place = choose_place(key_file=key_file, env_file=env_file)
    generate_key(place)
    click.echo(f"a new key is in {place.path}")
