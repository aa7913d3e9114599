"""`embed-index deploy`: text for systemd, nginx and cron, made of a job's own settings."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from embed_index.jobs.deployment import Deployment, installed_program
from embed_index.jobs.settings_loading import load_settings
from embed_index.schemas.settings import JobSettings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_KEY_FILE = "/etc/embed-index/key"
_ACCESS_LOG = "/var/log/nginx/embed-index.log"


class Matching(click.ParamType[str]):
    """A text of one form, which the message shows by example."""

    def __init__(self, name: str, *, pattern: str, example: str) -> None:
        self.name = name
        self._pattern = re.compile(pattern)
        self._example = example

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Accept a text that has the form as a whole."""
        if not self._pattern.fullmatch(value):
            self.fail(f"{value!r} is no {self.name} such as {self._example}", param, ctx)
        return value


_USER = Matching("user name", pattern=r"[a-z_][a-z0-9_-]{0,31}", example="embed-index")
_TIME = Matching("time of day", pattern=r"([01][0-9]|2[0-3]):[0-5][0-9]", example="02:30")
_HOST = Matching("host name", pattern=r"[A-Za-z0-9.-]+", example="embeddings.example.org")
_MAIL = Matching("mail address", pattern=r"[A-Za-z0-9._+-]+(@[A-Za-z0-9.-]+)?", example="root")


def _job_option(command: Decorated) -> Decorated:
    return click.option(
        "--job",
        "job_file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="JOB.toml",
        required=True,
        help="The job file that the settings come from.",
    )(command)


def _user_option(command: Decorated) -> Decorated:
    return click.option(
        "--user",
        type=_USER,
        default="embed-index",
        show_default=True,
        help="User that it runs as.",
    )(command)


def _at_option(command: Decorated) -> Decorated:
    return click.option(
        "--at",
        type=_TIME,
        metavar="HH:MM",
        default="02:30",
        show_default=True,
        help="When the nightly run starts, in the host's time zone.",
    )(command)


def _port_option(command: Decorated) -> Decorated:
    return click.option(
        "--server-port",
        type=click.IntRange(1, 65_535),
        metavar="N",
        help="Loopback port of the server.  [default: the job's, or 30000]",
    )(command)


@click.group()
def deploy() -> None:
    """Print ready-made text for systemd, nginx and cron.

    It is made of the job's own settings, goes to standard output and is complete: save it where
    its first line says, and do what the lines below that say.

    \b
    embed-index deploy systemd serve --job nightly.toml > embed-index-serve.service
    embed-index deploy nginx --job nightly.toml --server-name embeddings.example.org
    embed-index deploy cron --job nightly.toml | sudo tee /etc/cron.d/embed-index-run-nightly
    """  # noqa: D301 - Click wants the character


@deploy.command()
@click.argument("unit", type=click.Choice(["serve", "run", "timer"]))
@_job_option
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default=_KEY_FILE,
    show_default=True,
    help="File with the server's key, root's and of mode 0600, that systemd hands over.",
)
@_port_option
@_user_option
@_at_option
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
    from embed_index.jobs import systemd_units

    required = () if unit == "serve" else ("input", "collection")
    deployment = _deployment(job_file, user=user, server_port=server_port, required=required)
    key_file = Path.cwd() / key_file
    if unit == "serve":
        text = systemd_units.serve_unit(deployment, key_file=key_file)
    elif unit == "run":
        text = systemd_units.run_unit(deployment, key_file=key_file)
    else:
        text = systemd_units.timer_unit(deployment, at=at)
    click.echo(text, nl=False)


@deploy.command()
@click.option("--server-name", type=_HOST, required=True, help="Host name that clients use.")
@click.option(
    "--job",
    "job_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="JOB.toml",
    help="Take port and longest request from this job file.",
)
@_port_option
@click.option(
    "--listen-port", type=click.IntRange(1, 65_535), metavar="N", default=443, show_default=True,
    help="Port that clients use.",
)  # fmt: skip
@click.option(
    "--certificate-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Certificate chain.  [default: that of Let's Encrypt for the host name]",
)
@click.option(
    "--certificate-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The certificate's key.  [default: that of Let's Encrypt for the host name]",
)
@click.option(
    "--access-log",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default=_ACCESS_LOG,
    show_default=True,
    help="What nginx writes one line a request to, without keys.",
)
def nginx(
    *,
    server_name: str,
    job_file: Path | None,
    server_port: int | None,
    listen_port: int,
    certificate_file: Path | None,
    certificate_key_file: Path | None,
    access_log: Path,
) -> None:
    """Print an nginx site that puts TLS and limits in front of the server.

    Only POST /v1/embeddings, GET /v1/models and GET /health pass; the server checks the key.

    \b
    embed-index deploy nginx --server-name embeddings.example.org --job nightly.toml \\
        | sudo tee /etc/nginx/sites-available/embed-index
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.nginx_site import Site, nginx_site

    job_file = None if job_file is None else Path.cwd() / job_file
    settings = _settings(job_file, server_port=server_port)
    live = Path("/etc/letsencrypt/live") / server_name
    site = Site(
        server_name=server_name,
        port=listen_port,
        certificate=Path.cwd() / (certificate_file or live / "fullchain.pem"),
        certificate_key=Path.cwd() / (certificate_key_file or live / "privkey.pem"),
        access_log=Path.cwd() / access_log,
    )
    click.echo(nginx_site(site, settings), nl=False)


@deploy.command()
@_job_option
@_user_option
@_at_option
@click.option(
    "--mail-to",
    type=_MAIL,
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
    from embed_index.jobs.cron_table import cron_table

    deployment = _deployment(job_file, user=user, required=("input", "collection"))
    click.echo(cron_table(deployment, at=at, mail_to=mail_to), nl=False)


def _deployment(
    job_file: Path, *, user: str, server_port: int | None = None, required: tuple[str, ...]
) -> Deployment:
    job_file = Path.cwd() / job_file
    return Deployment(
        job_file=job_file,
        settings=_settings(job_file, server_port=server_port, required=required),
        user=user,
        program=installed_program(),
    )


def _settings(
    job_file: Path | None, *, server_port: int | None, required: tuple[str, ...] = ()
) -> JobSettings:
    """Read what a service will read: the job file and the .env beside it, not this shell."""
    return load_settings(
        job_file=job_file,
        flags={"server_port": server_port},
        required=required,
        environ={},
        folder=None if job_file is None else job_file.parent,
    ).settings
