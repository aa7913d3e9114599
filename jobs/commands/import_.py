"""`embed-index import`: a collection made of exported files."""

from pathlib import Path

import click

from embed_index.jobs.cli.local_path import LocalPath
from embed_index.jobs.cli.options import SettingCommand, import_options, job_file_option
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings


@click.command(name="import", cls=SettingCommand)
@click.argument("folder", type=LocalPath(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@with_settings(required=("collection",))
@import_options
def import_(*, settings: JobSettings, folder: Path, as_json: bool) -> None:
    """Make a collection of exported files, at any smaller dimension.

    Needs no GPU and no embedding server: vectors are cut and brought to unit length. A collection
    that exists gets a new version, which is checked before searches see it. The next run goes on
    from there and embeds only what changed since the export.

    \b
    embed-index import /backup/articles --collection articles --dimension 256
    embed-index import /backup/articles --job nightly.toml --milvus-uri http://milvus:19530
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.collections.archive_text import imported_as_text, report_as_json
    from embed_index.jobs.collections.archiving import import_collection
    from embed_index.pipeline.disk.heap import leave_out_pandas

    leave_out_pandas()
    done = import_collection(settings, folder=folder, tell=lambda text: click.echo(text, err=True))
    click.echo(report_as_json(done) if as_json else imported_as_text(done))
