"""What the `deploy` commands share: their options, and the settings they print."""

import re
from pathlib import Path

import click

from embed_index.jobs.cli.job_file import JOB_FILE
from embed_index.jobs.deployment.deployment import Deployment, absolute, installed_program
from embed_index.jobs.settings.loading import load_settings
from embed_index.schemas.settings import JobSettings


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
HOST = Matching("host name", pattern=r"[A-Za-z0-9.-]+", example="embeddings.example.org")
MAIL = Matching("mail address", pattern=r"[A-Za-z0-9._+-]+(@[A-Za-z0-9.-]+)?", example="root")


job_option = click.option(
    "--job",
    "job_file",
    type=JOB_FILE,
    metavar="JOB.toml",
    required=True,
    help="The job file that the settings come from.",
)
user_option = click.option(
    "--user", type=_USER, default="embed-index", show_default=True, help="User that it runs as."
)
at_option = click.option(
    "--at",
    type=_TIME,
    metavar="HH:MM",
    # Earlier times do not exist, in one night of the year, where clocks are put forward.
    default="04:30",
    show_default=True,
    help="When the nightly run starts, in the host's time zone.",
)
port_option = click.option(
    "--server-port",
    type=click.IntRange(1, 65_535),
    metavar="N",
    help="Loopback port of the server.  [default: the job's, or 30000]",
)


def load_deployment(
    job_file: Path, *, user: str, server_port: int | None = None, required: tuple[str, ...]
) -> Deployment:
    """Return what a job is deployed with; settings in `required` must be there."""
    job_file = absolute(job_file)
    return Deployment(
        job_file=job_file,
        settings=deployed_settings(job_file, server_port=server_port, required=required),
        user=user,
        program=installed_program(),
    )


def deployed_settings(
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
