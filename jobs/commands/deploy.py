"""`embed-index deploy`: text for systemd, nginx, cron and Milvus, made of a job's own settings."""

from collections.abc import Mapping

import click

from embed_index.jobs.cli.lazy_group import LazyGroup

COMMANDS: Mapping[str, str] = {
    "systemd": "Print one systemd unit.",
    "nginx": "Print an nginx site that puts TLS and limits in front of the server.",
    "cron": "Print a cron table for nightly runs, for hosts without systemd.",
    "milvus-roles": "Print or apply roles of Milvus, to load and to read.",
}
"""Names and short helps of the commands in `deploy_*.py`."""


@click.group(cls=LazyGroup, listing=COMMANDS, prefix="deploy_")
def deploy() -> None:
    """Print ready-made text for systemd, nginx, cron and Milvus.

    It is made of the job's own settings, goes to standard output and is complete: save it where
    its first line says, and do what the lines below that say.

    \b
    embed-index deploy systemd serve --job nightly.toml > embed-index-serve.service
    embed-index deploy nginx --job nightly.toml --server-name embeddings.example.org
    embed-index deploy cron --job nightly.toml | sudo tee /etc/cron.d/embed-index-run-nightly
    """  # noqa: D301 - Click wants the character
