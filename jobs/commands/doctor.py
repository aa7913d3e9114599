"""`embed-index doctor`: what is missing or unsafe on this host."""

from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.local_path import LocalPath
from embed_index.jobs.cli.options import SettingCommand, job_file_option, job_options
from embed_index.jobs.settings.loading import load_settings


@click.command(cls=SettingCommand)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object a check.")
@click.option(
    "--key-file",
    type=LocalPath(path_type=Path),
    metavar="FILE",
    help="File with the API key of the embedding server, to be checked, too.",
)
@job_file_option
@job_options
def doctor(*, as_json: bool, key_file: Path | None, job_file: Path | None, **flags: Any) -> None:
    """Show what is missing or unsafe on this host, with the remedy.

    One line a check: GPU and driver, SGLang and PyTorch, model files, key files, ports, disk,
    corpus, Milvus; on a Ray cluster each node. Nothing is downloaded, started or changed. Exit
    code 0 without a problem, 4 if only Milvus or a server is away, else 2.

    \b
    embed-index doctor
    embed-index doctor --job nightly.toml
    embed-index doctor --job nightly.toml --key-file /etc/embed-index/key --json
    embed-index doctor --job nightly.toml --ray auto
    """  # noqa: D301 - Click wants the character
    settings = load_settings(job_file=job_file, flags=flags).settings

    from embed_index.jobs.examination.check import checks_as_json, checks_as_text, failure_of
    from embed_index.jobs.examination.host import examine_host

    checks = examine_host(
        settings,
        folder=Path.cwd() if job_file is None else (Path.cwd() / job_file).parent,
        key_file=None if key_file is None else Path.cwd() / key_file,
    )
    click.echo(checks_as_json(checks) if as_json else checks_as_text(checks))
    failure = failure_of(checks)
    if failure is not None:
        raise failure
