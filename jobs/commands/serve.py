"""`embed-index serve`: only the authenticated embedding server."""

from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    job_file_option,
    key_file_option,
    serve_options,
    show_config_option,
)
from embed_index.jobs.settings.loading import LoadedSettings, load_settings
from embed_index.jobs.settings.show import render_config


@click.command(cls=SettingCommand)
@key_file_option
@job_file_option
@show_config_option
@serve_options
def serve(*, key_file: Path | None, job_file: Path | None, show_config: bool, **flags: Any) -> None:
    """Run only the authenticated embedding server.

    It runs until it is stopped, listens on loopback and answers nobody without the key. The key
    comes from --key-file, the systemd credential embedding-api-key, EMBEDDING_API_KEY in the
    environment or .env; never from an argument, which `ps` would show. Those of `embed-index keys
    add` are taken, too.

    A server that ends, or has requests and answers none of them for --request-timeout-seconds and
    as long as its longest input may take, is started again with the same port and key; one that
    keeps failing ends with exit code 4. SIGHUP reads the keys anew, which are taken at once and
    without a restart; closing the terminal ends it, but not under nohup. On SIGTERM or Ctrl-C it
    finishes what is in flight; a second one ends it at once.

    \b
    embed-index serve --model Qwen/Qwen3-Embedding-4B --server-port 30000
    embed-index serve --job nightly.toml --key-file /etc/embed-index/key
    """  # noqa: D301 - Click wants the character
    folder = Path.cwd()  # It may be gone when SIGHUP comes.

    def load() -> LoadedSettings:
        return load_settings(
            job_file=job_file,
            flags=flags,
            required=() if show_config else ("server_key",),
            key_file=key_file,
            folder=folder,
        )

    loaded = load()
    if show_config:
        click.echo(render_config(loaded))
        return

    from embed_index.jobs.serving.server import serve_until_stopped

    serve_until_stopped(loaded, reload=load)
