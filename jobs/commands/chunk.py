"""`embed-index chunk`: what a document becomes."""

from pathlib import Path

import click

from embed_index.jobs.cli.local_path import LocalPath
from embed_index.jobs.cli.options import SettingCommand, chunk_options, job_file_option
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@click.argument("file", type=LocalPath(path_type=Path), required=False)
@click.option("--id", "doc_id", metavar="ID", help="A document of the job's corpus, not a file.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print the chunks.",
)
@job_file_option
@with_settings()
@chunk_options
def chunk(*, settings: JobSettings, file: Path | None, doc_id: str | None, format_: str) -> None:
    """Show a document's chunks, and why each ends where it does.

    FILE is a text file, such as Markdown. Nothing is embedded or stored, and no server is started.

    \b
    embed-index chunk README.md --job nightly.toml
    embed-index chunk --id doc-17 --job nightly.toml --format json
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.cutting import page
    from embed_index.jobs.cutting.document import cut_file, cut_of_corpus

    if (file is None) == (doc_id is None):
        raise click.UsageError("Give either a FILE or an --id.")
    cut = cut_file(settings, file) if file is not None else cut_of_corpus(settings, doc_id or "")
    click.echo((page.as_json if format_ == "json" else page.as_text)(cut))
