"""`embed-index search`: the chunks nearest to a text."""

import sys
from pathlib import Path
from typing import get_args

import click

from embed_index.jobs.cli.local_path import LocalPath
from embed_index.jobs.cli.options import (
    SettingCommand,
    job_file_option,
    key_file_option,
    search_options,
)
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.limits import MAX_HITS
from embed_index.schemas.modes import SearchMode
from embed_index.schemas.settings import JobSettings

_FILE = LocalPath(path_type=Path, dir_okay=False)


@click.command(cls=SettingCommand)
@click.argument("collection")
@click.argument("text", required=False)
@click.option(
    "--mode",
    type=click.Choice(get_args(SearchMode)),
    default="dense",
    show_default=True,
    help="By meaning, by words or by both; the last two need a collection with text_search.",
)
@click.option(
    "--weights",
    type=(float, float),
    metavar="DENSE TEXT",
    help="How much meaning and words count with --mode hybrid; without it, the ranks of both.",
)
@click.option(
    "--limit", type=click.IntRange(1, MAX_HITS), default=10, show_default=True, help="Hits wanted."
)
@click.option(
    "--filter",
    "expression",
    metavar="EXPR",
    default="",
    help="Milvus expression that hits must satisfy, such as 'severity == \"high\"'.",
)
@click.option(
    "--group-by",
    type=click.Choice(["document"]),
    help="Give the best chunk of each document, so that --limit counts documents.",
)
@click.option(
    "--instruction",
    metavar="TASK",
    help="Put the query with this task instead of the collection's; '' for none.",
)
@click.option(
    "--queries",
    type=_FILE,
    metavar="FILE",
    help="Search for each query of a .parquet or .jsonl file (`query`, and perhaps `id`).",
)
@click.option(
    "--output", type=_FILE, metavar="FILE", help="Write the hits of --queries to a Parquet file."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "jsonl", "arrow"]),
    default="table",
    show_default=True,
    help="Print two lines a hit, a JSON object a hit with the whole text, or an Arrow stream.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list with the whole texts.")
@job_file_option
@key_file_option
@with_settings()
@search_options
def search(
    *,
    settings: JobSettings,
    collection: str,
    text: str | None,
    mode: SearchMode,
    weights: tuple[float, float] | None,
    limit: int,
    expression: str,
    group_by: str | None,
    instruction: str | None,
    queries: Path | None,
    output: Path | None,
    format_: str,
    as_json: bool,
) -> None:
    """Find the chunks nearest to a text.

    The query is put the way the collection's contract says. It is embedded by the server that
    --server-url names, or by the `embed-index serve` that runs from the same state folder; without
    either, a server is started for this search. Without a text, on a terminal, it asks for one
    after the other.

    \b
    embed-index search articles "how do I reset my password"
    embed-index search articles "refund" --limit 3 --filter 'product == "cloud"'
    embed-index search articles "E-4012 pump" --mode hybrid
    embed-index search articles "refund" --json --job nightly.toml
    embed-index search articles --queries queries.parquet --output hits.parquet
    """  # noqa: D301 - Click wants the character
    format_ = "json" if as_json else format_
    _check_usage(text=text, queries=queries, output=output, format_=format_)
    from embed_index.jobs.collections.search import SearchOptions, search_collection
    from embed_index.jobs.collections.show_hits import show_file, show_hits, show_in_turn, tell

    options = SearchOptions(
        mode=mode,
        weights=weights,
        limit=limit,
        expression=expression,
        by_document=group_by == "document",
        instruction=instruction,
    )
    if queries is not None:
        show_file(
            settings,
            collection=collection,
            queries=queries,
            output=output,
            options=options,
            format_=format_,
        )
    elif text is None:
        show_in_turn(settings, collection=collection, options=options, format_=format_)
    else:
        hits = search_collection(
            settings, collection=collection, text=text, options=options, tell=tell
        )
        show_hits(hits, format_=format_)


def _check_usage(
    *, text: str | None, queries: Path | None, output: Path | None, format_: str
) -> None:
    if text is not None and queries is not None:
        raise click.UsageError("Give a text or --queries, not both.")
    if text is None and queries is None and not sys.stdin.isatty():
        raise click.UsageError("Missing argument 'TEXT'; on a terminal it would be asked for.")
    if queries is not None and format_ == "json":
        raise click.UsageError("--queries goes with --format jsonl, a line a hit.")
    if output is not None and queries is None:
        raise click.UsageError("--output is for --queries; redirect what one search prints.")
    if format_ == "arrow" and output is None and sys.stdout.isatty():
        raise click.UsageError("An Arrow stream is nothing for a terminal; redirect it.")
