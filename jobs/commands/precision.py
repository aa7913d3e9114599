"""`embed-index precision`: what fp8 costs and saves on one's own corpus."""

from pathlib import Path

import click

from embed_index.jobs.cli.local_path import LocalPath
from embed_index.jobs.cli.options import SettingCommand, corpus_options, job_file_option
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings

_MAX_SAMPLE = 20_000


@click.command(cls=SettingCommand)
@click.option(
    "--sample",
    "num_chunks",
    type=click.IntRange(20, _MAX_SAMPLE),
    default=1_000,
    show_default=True,
    metavar="N",
    help="Chunks to embed in both precisions, from all over the corpus.",
)
@click.option(
    "--queries",
    "query_file",
    type=LocalPath(path_type=Path),
    metavar="FILE",
    help="What people search for, one query a line; without it the chunks search for each other.",
)
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    metavar="X",
    help="What an hour of the GPU costs, to say what is saved.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@with_settings(required=("input",))
@corpus_options
def precision(
    *,
    settings: JobSettings,
    num_chunks: int,
    query_file: Path | None,
    price: float | None,
    as_json: bool,
) -> None:
    """Measure what fp8 costs and saves on this corpus, model and GPU.

    A sample of the job's corpus is embedded in bfloat16 and in fp8, on a server that is started
    for each. The page says how near the vectors are, whether searches find the same, how fast
    either is, and what to take. No collection is read or written.

    \b
    embed-index precision --job nightly.toml
    embed-index precision --job nightly.toml --sample 5000 --queries queries.txt --price 2.5
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.precision import page
    from embed_index.jobs.precision.comparison import compare_precisions
    from embed_index.jobs.precision.sample import read_queries

    comparison = compare_precisions(
        settings,
        num_chunks=num_chunks,
        queries=read_queries(query_file) if query_file else (),
        tell=lambda text: click.echo(text, err=True),
    )
    click.echo((page.as_json if as_json else page.as_text)(comparison, price=price))
