"""`embed-index keys list`: show whose keys there are, and what they open."""

from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.options import SettingCommand, job_file_option, ledger_options
from embed_index.jobs.settings.loading import load_settings


@click.command("list", cls=SettingCommand)
@job_file_option
@ledger_options
def list(  # noqa: A001 - the command is called so
    *, job_file: Path | None, **flags: Any
) -> None:
    """Show whose keys there are, and what they open.

    No key is shown; they are in the file named-keys of the --state-dir.

    \b
    embed-index keys list
    """  # noqa: D301 - Click wants the character
    settings = load_settings(job_file=job_file, flags=flags).settings

    from embed_index.jobs.serving.named_keys import named_keys_as_text

    click.echo(named_keys_as_text(settings.state_dir))
