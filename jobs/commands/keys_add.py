"""`embed-index keys add`: give somebody a key of their own."""

from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.options import SettingCommand, job_file_option, ledger_options
from embed_index.jobs.settings.loading import load_settings


@click.command("add", cls=SettingCommand)
@click.argument("name")
@click.option("--query-only", is_flag=True, help="Let it open what a search needs, and no more.")
@click.option(
    "--per-minute",
    type=click.IntRange(1, 999_999),
    metavar="N",
    help="Requests within any sixty seconds; further ones get 429.",
)
@job_file_option
@ledger_options
def add(
    *, name: str, query_only: bool, per_minute: int | None, job_file: Path | None, **flags: Any
) -> None:
    """Give somebody a key of their own.

    It is written to the file named-keys of the --state-dir, as `name: key`, with mode 0600; the
    `embed-index serve` that runs from there takes it at once. With --query-only it opens
    POST /v1/embeddings, with at most 16 inputs and 64 KiB in a request, and GET /v1/models. The
    server's access log says by name who asked.

    \b
    embed-index keys add alice
    embed-index keys add website --query-only --per-minute 600
    """  # noqa: D301 - Click wants the character
    settings = load_settings(job_file=job_file, flags=flags).settings

    from embed_index.jobs.serving.named_keys import add_named_key

    path = add_named_key(
        name, state_dir=settings.state_dir, query_only=query_only, per_minute=per_minute
    )
    click.echo(f"the key of {name} is in {path}")
