"""`embed-index search`: the chunks nearest to a text."""

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    job_file_option,
    search_options,
)
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.limits import MAX_HITS
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@click.argument("collection")
@click.argument("text")
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
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list with the whole texts.")
@job_file_option
@with_settings()
@search_options
def search(
    *,
    settings: JobSettings,
    collection: str,
    text: str,
    limit: int,
    expression: str,
    as_json: bool,
) -> None:
    """Find the chunks nearest to a text.

    The query is put the way the collection's contract says. Without --server-url, a server is
    started for this one query.

    \b
    embed-index search articles "how do I reset my password"
    embed-index search articles "refund" --limit 3 --filter 'product == "cloud"'
    embed-index search articles "refund" --json --job nightly.toml
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.collections.search import search_collection
    from embed_index.jobs.collections.text import hits_as_json, hits_as_text

    hits = search_collection(
        settings, collection=collection, text=text, limit=limit, expression=expression
    )
    if not hits and not as_json:
        click.echo("no chunk found", err=True)
        return
    click.echo(hits_as_json(hits) if as_json else hits_as_text(hits))
