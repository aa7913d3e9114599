"""`embed-index init`: a job file to begin with."""

from pathlib import Path

import click


@click.command()
@click.argument("corpus", type=click.Path(path_type=Path), metavar="FILE_OR_FOLDER")
@click.option(
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="JOB.toml",
    default=Path("nightly.toml"),
    show_default=True,
    help="File to write, which must not exist; - for standard output.",
)
def init(*, corpus: Path, output: Path) -> None:
    """Look at Parquet and write a job file for it.

    It looks at the columns and the first rows, and writes down what it takes for the document's
    id, text and metadata, and how long chunks should be, with its reasons as comments.

    \b
    embed-index init corpus/
    embed-index init articles.parquet --output articles.toml
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.settings.draft import draft_job_file, write_draft

    to_stdout = str(output) == "-"
    draft = draft_job_file(corpus, folder=Path() if to_stdout else output.parent)
    if to_stdout:
        click.echo(draft.text, nl=False)
    else:
        write_draft(draft.text, output=output)
        click.echo(f"{output} is written; read it before you run it", err=True)
    if draft.open_question:
        click.echo(f"to decide: {draft.open_question}", err=True)
