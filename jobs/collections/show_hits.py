"""Puts hits where people and programs want them: standard output, or a Parquet file."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click

from embed_index.jobs.collections.query_file import HitsFile, hits_file, read_queries, with_ids
from embed_index.jobs.collections.search import SearchOptions, search_each, search_in_turn
from embed_index.jobs.collections.text import (
    hits_as_json,
    hits_as_json_lines,
    hits_as_text,
    one_line,
)
from embed_index.pipeline.library.hits import Hits, as_table
from embed_index.pipeline.milvus.stored import Hit
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import QueryError
from embed_index.schemas.settings import JobSettings


def tell(text: str) -> None:
    """Write a sentence for people to standard error."""
    click.echo(text, err=True)


def show_hits(hits: Sequence[Hit], *, format_: str) -> None:
    """Write what one query found to standard output."""
    if format_ == "json":
        click.echo(hits_as_json(hits))
    elif format_ == "arrow":
        assert isinstance(hits, Hits)
        with _ArrowOutput() as stream:
            stream.write(hits.as_arrow())
    elif not hits:
        tell("no chunk found")
    else:
        click.echo(hits_as_json_lines(hits) if format_ == "jsonl" else hits_as_text(hits))


def show_in_turn(
    settings: JobSettings, *, collection: str, options: SearchOptions, format_: str
) -> None:
    """Ask for texts on the terminal, and show what each finds."""
    # Brings editing and a history to `input`.
    import readline  # noqa: F401

    def ask() -> str | None:
        try:
            return input(f"{collection}> ")
        except EOFError:
            click.echo()
            return None

    def refuse(error: QueryError) -> None:
        tell(f"error: {error}")

    search_in_turn(
        settings,
        collection=collection,
        ask=ask,
        show=lambda hits: show_hits(hits, format_=format_),
        refuse=refuse,
        options=options,
        tell=tell,
    )


def show_file(
    settings: JobSettings,
    *,
    collection: str,
    queries: Path,
    output: Path | None,
    options: SearchOptions,
    format_: str,
) -> None:
    """Search for each query of a file, and write what they found to a file or standard output."""
    asked = read_queries(queries)
    with ExitStack() as stack:
        file = None if output is None else stack.enter_context(hits_file(output))
        tables: HitsFile | _ArrowOutput | None = file
        if file is None and format_ == "arrow":
            tables = stack.enter_context(_ArrowOutput())
        for first, found in search_each(
            settings, collection=collection, texts=asked.texts, options=options, tell=tell
        ):
            if tables is not None:
                tables.write(with_ids(as_table(found, first_query=first), asked.ids))
                continue
            for place, hits in enumerate(found, start=first):
                query_id = None if asked.ids is None else asked.ids[place]
                click.echo(_one_of_many(hits, place=place, query_id=query_id, format_=format_))
    if file is not None:
        tell(f"{counted(len(asked.texts), 'query')}, {counted(file.num_hits, 'hit')} in {output}")


def _one_of_many(hits: Hits, *, place: int, query_id: str | None, format_: str) -> str:
    if format_ == "jsonl":
        named: dict[str, object] = {} if query_id is None else {"query_id": query_id}
        return hits_as_json_lines(hits, **named, query_index=place, query=hits.query)
    name = f"{place + 1}" if query_id is None else one_line(query_id)
    return f"{name}: {one_line(hits.query or '')}\n{hits_as_text(hits) or '     no chunk found'}"


class _ArrowOutput:
    """Standard output as one Arrow stream."""

    def __init__(self) -> None:
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # One that is not whole has no end, by which its reader knows.
        if self._writer is not None and error is None:
            self._writer.close()

    def write(self, table: Any) -> None:
        """Append a table."""
        import pyarrow as pa

        if self._writer is None:
            self._writer = pa.ipc.new_stream(sys.stdout.buffer, table.schema)
        self._writer.write_table(table)
