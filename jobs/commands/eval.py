"""`embed-index eval`: how good a collection finds."""

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

_PATH = LocalPath(path_type=Path)


@click.command(name="eval", cls=SettingCommand)
@click.argument("collection")
@click.option(
    "--queries",
    type=_PATH,
    metavar="FILE",
    help="Parquet, JSON lines, TREC topics, or lines of id, tab, text; or BEIR's folder.",
)
@click.option(
    "--qrels",
    type=_PATH,
    metavar="FILE",
    help="Which documents answer them: Parquet, JSON lines, TREC's or BEIR's; not needed for"
    " queries with `doc_ids`.",
)
@click.option(
    "--from-titles",
    "title_column",
    metavar="COLUMN",
    help="Instead of files: a carried column's values as queries, their documents as answers.",
)
@click.option(
    "--titles",
    "num_titles",
    type=click.IntRange(min=1, max=100_000),
    default=500,
    show_default=True,
    metavar="N",
    help="How many titles are drawn.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Draws other titles."
)
@click.option(
    "--mode",
    "modes",
    default="dense",
    show_default=True,
    metavar="MODES",
    help="Any of dense, text and hybrid, between commas; the first is what is recorded as the"
    " version's quality.",
)
@click.option(
    "--dimensions",
    default="",
    metavar="N,N",
    help="Also search exactly with vectors cut to these widths, such as 64,128,256.",
)
@click.option(
    "--recall-at", default="10,100", show_default=True, metavar="N,N", help="Cut-offs of recall."
)
@click.option(
    "--exact/--no-exact",
    default=None,
    help="Compare the index with exact search, which reads all vectors; unasked up to a million.",
)
@click.option(
    "--against",
    metavar="VERSION",
    help="Compare query by query with another version: its name, or @v2.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people, or one JSON object.",
)
@job_file_option
@key_file_option
@with_settings()
@search_options
def eval(  # noqa: A001 - commands are called like their modules
    *,
    settings: JobSettings,
    collection: str,
    queries: Path | None,
    qrels: Path | None,
    title_column: str | None,
    num_titles: int,
    seed: int,
    modes: str,
    dimensions: str,
    recall_at: str,
    exact: bool | None,
    against: str | None,
    format_: str,
) -> None:
    """Measure how good a collection finds what answers queries.

    Rankings are of documents, each by its best chunk. A mean over queries comes with its interval
    of 95 % confidence. Without --queries, those of the job file's [quality] are asked. What was
    found is recorded in the collection's ledger, where there is one here. Needs the extra: pip
    install '.[eval]'.

    \b
    embed-index eval articles --queries queries.jsonl --qrels qrels.tsv
    embed-index eval articles --queries beir/scifact --dimensions 64,128,256,512
    embed-index eval articles --queries queries.jsonl --mode dense,text,hybrid --format json
    embed-index eval articles --queries queries.jsonl --against @v3 --job nightly.toml
    embed-index eval articles --job nightly.toml
    embed-index eval articles --from-titles title
    """  # noqa: D301 - Click wants the character
    if queries is None and qrels is None and title_column is None:
        queries, qrels = settings.quality_queries, settings.quality_qrels
    _check_usage(queries=queries, qrels=qrels, title_column=title_column)
    named_modes = tuple(_parts(modes))
    known: tuple[SearchMode, ...] = get_args(SearchMode)
    chosen = tuple(mode for name in named_modes for mode in known if mode == name)
    if not chosen or len(chosen) != len(named_modes):
        raise click.UsageError(f"--mode is some of {', '.join(known)}, not {modes!r}.")
    widths = _numbers(dimensions, option="--dimensions", largest=32_768)
    cutoffs = _numbers(recall_at, option="--recall-at", largest=MAX_HITS)
    if not cutoffs:
        raise click.UsageError("--recall-at needs a number.")
    from embed_index.jobs.collections.show_hits import tell
    from embed_index.jobs.evaluation.evaluation import Question, evaluate_collection
    from embed_index.jobs.evaluation.text import evaluation_as_json, evaluation_as_text
    from embed_index.pipeline.evaluation.assessment import Ways

    question = Question(
        queries=queries,
        qrels=qrels,
        title_column=title_column,
        num_titles=num_titles,
        seed=seed,
        ways=Ways(modes=chosen, dimensions=widths, recall_at=cutoffs, is_timed=True),
        exact=exact,
        against=against,
    )
    found = evaluate_collection(settings, question, collection=collection, tell=tell)
    click.echo((evaluation_as_json if format_ == "json" else evaluation_as_text)(found))


def _check_usage(*, queries: Path | None, qrels: Path | None, title_column: str | None) -> None:
    if queries is None and title_column is None:
        raise click.UsageError(
            "Give --queries, a --job that names some under [quality], or --from-titles for queries"
            " out of a column."
        )
    if title_column is not None and (queries is not None or qrels is not None):
        raise click.UsageError("--from-titles makes queries and answers; leave out the files.")


def _parts(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _numbers(text: str, *, option: str, largest: int) -> tuple[int, ...]:
    parts = _parts(text)
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= largest for part in parts):
        raise click.UsageError(f"{option} is numbers from 1 to {largest} between commas: {text!r}.")
    return tuple(sorted(map(int, parts)))
