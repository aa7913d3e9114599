"""`embed-index deploy nginx`: an nginx site."""

from pathlib import Path

import click

from embed_index.jobs.cli.job_file import JOB_FILE
from embed_index.jobs.cli.local_path import LocalPath
from embed_index.jobs.deployment.options import (
    HOST,
    deployed_settings,
    port_option,
)

_ACCESS_LOG = "/var/log/nginx/embed-index.log"


@click.command()
@click.option("--server-name", type=HOST, required=True, help="Host name that clients use.")
@click.option(
    "--job",
    "job_file",
    type=JOB_FILE,
    metavar="JOB.toml",
    help="Take port and longest request from this job file.",
)
@port_option
@click.option(
    "--listen-port", type=click.IntRange(1, 65_535), metavar="N", default=443, show_default=True,
    help="Port that clients use.",
)  # fmt: skip
@click.option(
    "--certificate-file",
    type=LocalPath(path_type=Path),
    metavar="FILE",
    help="Certificate chain.  [default: that of Let's Encrypt for the host name]",
)
@click.option(
    "--certificate-key-file",
    type=LocalPath(path_type=Path),
    metavar="FILE",
    help="The certificate's key.  [default: that of Let's Encrypt for the host name]",
)
@click.option(
    "--access-log",
    type=LocalPath(path_type=Path),
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
    from embed_index.jobs.deployment.deployment import absolute
    from embed_index.jobs.deployment.nginx import Site, nginx_site

    job_file = None if job_file is None else absolute(job_file)
    settings = deployed_settings(job_file, server_port=server_port)
    live = Path("/etc/letsencrypt/live") / server_name
    site = Site(
        server_name=server_name,
        port=listen_port,
        certificate=absolute(certificate_file or live / "fullchain.pem"),
        certificate_key=absolute(certificate_key_file or live / "privkey.pem"),
        access_log=absolute(access_log),
    )
    click.echo(nginx_site(site, settings), nl=False)
