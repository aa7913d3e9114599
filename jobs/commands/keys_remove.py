"""`embed-index keys remove`: take somebody's key away."""

from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.options import SettingCommand, job_file_option, ledger_options
from embed_index.jobs.settings.loading import load_settings


@click.command("remove", cls=SettingCommand)
@click.argument("name")
@job_file_option
@ledger_options
def remove(*, name: str, job_file: Path | None, **flags: Any) -> None:
    """Take somebody's key away.

    The `embed-index serve` that runs from the --state-dir refuses it at once, which is tried;
    otherwise the exit code is 4.

    \b
    embed-index keys remove alice
    """  # noqa: D301 - Click wants the character
    settings = load_settings(job_file=job_file, flags=flags).settings

    from embed_index.jobs.serving.named_keys import remove_named_key

    path = remove_named_key(name, state_dir=settings.state_dir)
    click.echo(f"the key of {name} is gone from {path}")
