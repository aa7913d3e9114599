"""`embed-index deploy systemd`: one systemd unit."""

from pathlib import Path

import click

from embed_index.jobs.cli.local_path import LocalPath
from embed_index.jobs.deployment.options import (
    at_option,
    job_option,
    load_deployment,
    port_option,
    user_option,
)

_KEY_FILE = "/etc/embed-index/key"


@click.command()
@click.argument("unit", type=click.Choice(["serve", "run", "timer"]))
@job_option
@click.option(
    "--key-file",
    type=LocalPath(path_type=Path),
    metavar="FILE",
    default=_KEY_FILE,
    show_default=True,
    help="File with the server's key, root's and of mode 0600, that systemd hands over.",
)
@port_option
@user_option
@at_option
def systemd(
    *, unit: str, job_file: Path, key_file: Path, server_port: int | None, user: str, at: str
) -> None:
    """Print one systemd unit.

    serve is the authenticated server that stays up; run is one nightly run, and timer starts it.
    The nightly units are called after the job file, so a host can have several.

    \b
    embed-index deploy systemd serve --job /etc/embed-index/nightly.toml \\
        | sudo tee /etc/systemd/system/embed-index-serve.service
    embed-index deploy systemd run --job /etc/embed-index/nightly.toml \\
        | sudo tee /etc/systemd/system/embed-index-run-nightly.service
    embed-index deploy systemd timer --job /etc/embed-index/nightly.toml --at 01:15 \\
        | sudo tee /etc/systemd/system/embed-index-run-nightly.timer
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.deployment import systemd as systemd_units
    from embed_index.jobs.deployment.deployment import absolute

    required = () if unit == "serve" else ("input", "collection")
    deployment = load_deployment(job_file, user=user, server_port=server_port, required=required)
    key_file = absolute(key_file)
    if unit == "serve":
        text = systemd_units.serve_unit(deployment, key_file=key_file)
    elif unit == "run":
        text = systemd_units.run_unit(deployment, key_file=key_file)
    else:
        text = systemd_units.timer_unit(deployment, at=at)
    click.echo(text, nl=False)
