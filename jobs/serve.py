"""`embed-index serve`: only the authenticated embedding server."""

from pathlib import Path
from typing import Any

import click

from embed_index.jobs.options import (
    SettingCommand,
    job_file_option,
    serve_options,
    show_config_option,
)
from embed_index.jobs.settings_loading import load_settings
from embed_index.jobs.show_config import render_config


@click.command(cls=SettingCommand)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of mode 0600 that holds the API key and nothing else.",
)
@job_file_option
@show_config_option
@serve_options
def serve(*, key_file: Path | None, job_file: Path | None, show_config: bool, **flags: Any) -> None:
    """Run only the authenticated embedding server.

    It runs until it is stopped, listens on loopback and answers nobody without the key. The key
    comes from --key-file, the systemd credential embedding-api-key, EMBEDDING_API_KEY in the
    environment or .env; never from an argument, which `ps` would show.

    \b
    embed-index serve --model Qwen/Qwen3-Embedding-4B --server-port 30000
    embed-index serve --job nightly.toml --key-file /etc/embed-index/key
    """  # noqa: D301 - Click wants the character
    required = () if show_config else ("server_key",)
    loaded = load_settings(job_file=job_file, flags=flags, required=required, key_file=key_file)
    if show_config:
        click.echo(render_config(loaded))
        return

    from embed_index.jobs.server_job import serve_until_stopped

    serve_until_stopped(loaded.settings)
