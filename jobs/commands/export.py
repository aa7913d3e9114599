"""`embed-index export`: a collection as Parquet files."""

from pathlib import Path

import click

from embed_index.jobs.cli.local_path import LocalPath
from embed_index.jobs.cli.options import (
    SettingCommand,
    collection_argument,
    job_file_option,
    version_options,
)
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@collection_argument
@click.option(
    "--to",
    "folder",
    type=LocalPath(path_type=Path, file_okay=False),
    metavar="DIR",
    required=True,
    help="Folder to write to: empty, or not there yet.",
)
@click.option("--replace", is_flag=True, help="Let an older export in the folder give way.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@with_settings()
@version_options
def export(*, settings: JobSettings, folder: Path, replace: bool, as_json: bool) -> None:
    """Write a collection as Parquet files.

    Ids, texts, metadata and vectors of the version that searches see, its contract, and what its
    ledger knows. The version is checked first, and no run works on it meanwhile. A half-written
    export is no export: manifest.json is written last.

    \b
    embed-index export articles --to /backup/articles
    embed-index export articles --to /backup/articles --replace --job nightly.toml
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.collections.archive_text import exported_as_text, report_as_json
    from embed_index.jobs.collections.archiving import export_collection
    from embed_index.pipeline.disk.heap import leave_out_pandas

    leave_out_pandas()
    done = export_collection(
        settings,
        folder=folder,
        replace_older=replace,
        tell=lambda text: click.echo(text, err=True),
    )
    click.echo(report_as_json(done) if as_json else exported_as_text(done))
