"""`embed-index deploy cron`: a cron table."""

from pathlib import Path

import click

from embed_index.jobs.deployment.options import (
    MAIL,
    at_option,
    job_option,
    load_deployment,
    user_option,
)


@click.command()
@job_option
@user_option
@at_option
@click.option(
    "--mail-to",
    type=MAIL,
    metavar="ADDRESS",
    default="root",
    show_default=True,
    help="Who hears of a run that failed.",
)
def cron(*, job_file: Path, user: str, at: str, mail_to: str) -> None:
    """Print a cron table for nightly runs, for hosts without systemd.

    Cron sends mail only when a run failed.

    \b
    embed-index deploy cron --job /etc/embed-index/nightly.toml --mail-to search@example.org \\
        | sudo tee /etc/cron.d/embed-index-run-nightly
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.deployment.cron import cron_table

    deployment = load_deployment(job_file, user=user, required=("input", "collection"))
    click.echo(cron_table(deployment, at=at, mail_to=mail_to), nl=False)
