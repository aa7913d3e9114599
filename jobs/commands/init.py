"""`embed-index init`: a job file to begin with."""

from pathlib import Path

import click

from embed_index.jobs.cli.local_path import LocalPath
from embed_index.jobs.cli.options import SettingCommand, storage_options


@click.command(cls=SettingCommand)
@click.argument("corpus", type=LocalPath(), metavar="FILE_OR_FOLDER")
@click.option(
    "--output",
    type=LocalPath(path_type=Path, allow_dash=True),
    metavar="JOB.toml",
    default=Path("nightly.toml"),
    show_default=True,
    help="File to write, which must not exist; - for standard output.",
)
@storage_options
def init(
    *, corpus: str, output: Path, source_endpoint: str | None, source_region: str | None
) -> None:
    """Look at Parquet and write a job file for it.

    It looks at the columns and the first rows, and writes down what it takes for the document's
    id, text and metadata, and how long chunks should be, with its reasons as comments.

    \b
    embed-index init corpus/
    embed-index init articles.parquet --output articles.toml
    embed-index init s3://bucket/articles --source-region eu-central-1
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.settings.draft import draft_job_file, write_draft
    from embed_index.jobs.settings.loading import load_settings

    to_stdout = str(output) == "-"
    storage = {"source_endpoint": source_endpoint, "source_region": source_region}
    draft = draft_job_file(
        corpus,
        folder=Path() if to_stdout else output.parent,
        settings=load_settings(flags=storage).settings,
    )
    if to_stdout:
        click.echo(draft.text, nl=False)
    else:
        write_draft(draft.text, output=output)
        click.echo(f"{output} is written; read it before you run it", err=True)
    for what in draft.unreadable:
        click.echo(f"not looked at: {what}", err=True)
    for notice in draft.notices:
        click.echo(notice, err=True)
    if draft.open_question:
        click.echo(f"to decide: {draft.open_question}", err=True)
