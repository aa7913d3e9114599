"""`embed-index report`: the morning after, on one page."""

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
    "-o",
    "--output",
    type=LocalPath(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE",
    help="Where the page goes; one that is there is replaced.",
)
@click.option(
    "--color-by",
    metavar="COLUMN",
    help="Carried column that colours the map; the first that is fit if not given.",
)
@click.option(
    "--chunks",
    "num_chunks",
    type=click.IntRange(min=1, max=20_000),
    default=5000,
    show_default=True,
    metavar="N",
    help="About how many chunks to map.",
)
@click.option(
    "--no-texts",
    is_flag=True,
    help="Leave out texts, ids and places of documents, and error messages.",
)
@job_file_option
@with_settings()
@version_options
def report(
    *,
    settings: JobSettings,
    output: Path,
    color_by: str | None,
    num_chunks: int,
    no_texts: bool,
) -> None:
    """Write what is known of a collection to one page of HTML.

    Freshness and outcome, what changed, pace, dead letters, chunk lengths, storage, and a map of a
    sample to point at. The file is complete in itself: it can be mailed, and opens without a
    network. `report` in the job file leaves one after each run.

    \b
    embed-index report articles -o report.html
    embed-index report articles --job nightly.toml --color-by product
    embed-index report articles --no-texts -o for-others.html
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.reporting.gathering import ReportWishes
    from embed_index.jobs.reporting.report import make_report
    from embed_index.pipeline.disk.heap import leave_out_pandas
    from embed_index.pipeline.report.placing import check_place

    leave_out_pandas()
    check_place(output, setting="--output")
    wishes = ReportWishes(
        color_by=settings.report_color_by if color_by is None else color_by,
        num_chunks=num_chunks,
        with_texts=settings.report_texts and not no_texts,
    )
    size = make_report(settings, path=output, wishes=wishes)
    click.echo(f"{output}: {size / 1e6:,.2f} MB")
