"""`embed-index keys verify`: what a running server answers without its key."""

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    job_file_option,
    key_file_option,
    server_options,
)
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.errors import ServerError
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object a server.")
@key_file_option
@job_file_option
@with_settings(required=("server_url", "server_key"))
@server_options
def verify(*, settings: JobSettings, as_json: bool) -> None:
    """Try every route of a running server without the key.

    The server must embed with the right key, and refuse its embeddings without a key and with a
    wrong one. Then every route on its own list, and those that SGLang does not list, are tried
    without and with a wrong key, first in a way that has no effect should one be open. What SGLang
    leaves open on purpose is listed; anything else that answers ends with exit code 4.

    \b
    embed-index keys verify --server-url http://127.0.0.1:30000 --key-file key
    embed-index keys verify --server-url https://gpu-host:8443 --json
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.serving.access import audit_servers, audits_as_json, audits_as_text

    audits = audit_servers(settings)
    click.echo((audits_as_json if as_json else audits_as_text)(audits))
    unexpected = sum(len(audit.unexpected) for audit in audits)
    if unexpected:
        raise ServerError(
            f"routes that answer without the key and should ask for it: {unexpected}",
            remedy="Start the server with `embed-index serve`, or close the proxy in front of it.",
        )
