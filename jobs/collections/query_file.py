"""Queries from a file, and what they found into another one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from embed_index.pipeline.corpus.opening import open_parquet
from embed_index.pipeline.library.queries import check_query
from embed_index.schemas.errors import ConfigurationError, QueryError

_TEXT_COLUMNS = ("query", "text")
_ID_COLUMNS = ("query_id", "id")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileQueries:
    """The queries of a file."""

    texts: tuple[str, ...]
    ids: tuple[str, ...] | None
    """What the file calls them; None where it says nothing."""


def read_queries(path: Path) -> FileQueries:
    """Read queries from Parquet or JSON lines: `query` or `text`, and perhaps `query_id` or `id`.

    Raises:
        ConfigurationError: The file cannot be read, or has no such column.
        QueryError: One of the queries is empty or no text.
    """
    rows = _rows_of_parquet(path) if path.suffix == ".parquet" else _rows_of_lines(path)
    texts, ids = [], []
    for number, (text, query_id) in enumerate(rows, start=1):
        try:
            check_query(text)
        except QueryError as error:
            raise QueryError(
                f"{path}, row {number}: {error.message}", remedy=error.remedy
            ) from None
        texts.append(str(text))
        ids.append(query_id)
    if not texts:
        raise ConfigurationError(f"{path} holds no query", remedy="Give a file with queries.")
    known = [str(query_id) for query_id in ids if query_id is not None]
    if known and len(known) < len(ids):
        raise ConfigurationError(
            f"{path}: some queries have an id and some have none", remedy="Give all or none."
        )
    return FileQueries(texts=tuple(texts), ids=tuple(known) or None)


def _rows_of_parquet(path: Path) -> Iterator[tuple[object, object]]:
    with open_parquet(path) as parquet:
        names = parquet.schema_arrow.names
        text = next((name for name in _TEXT_COLUMNS if name in names), None)
        if text is None:
            raise _no_text(path, f"its columns are: {', '.join(names)}")
        query_id = next((name for name in _ID_COLUMNS if name in names), None)
        columns = [text] if query_id is None else [text, query_id]
        for batch in parquet.iter_batches(columns=columns):
            values = [batch.column(name).to_pylist() for name in columns]
            if query_id is None:
                values.append([None] * batch.num_rows)
            yield from zip(*values, strict=True)


def _rows_of_lines(path: Path) -> Iterator[tuple[object, object]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}",
            remedy="Give a file of queries, .parquet or .jsonl.",
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ConfigurationError(
                f"{path}, line {number} is not JSON", remedy='Write lines such as {"query": "…"}.'
            ) from error
        text = next((name for name in _TEXT_COLUMNS if isinstance(row, dict) and name in row), None)
        if text is None:
            raise _no_text(path, f"line {number} has none")
        yield row[text], next((row[name] for name in _ID_COLUMNS if name in row), None)


def _no_text(path: Path, detail: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} has no column `query` or `text`", remedy=f"Name the queries so; {detail}."
    )


class HitsFile:
    """A Parquet file that is written table by table."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None
        self.num_hits = 0

    def write(self, table: pa.Table) -> None:
        """Append hits."""
        if self._writer is None:
            self._schema = table.schema
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        if table.schema != self._schema:
            raise ConfigurationError(
                "the collection was replaced by one with other columns during the search",
                remedy="Search again.",
            )
        self._writer.write_table(table)
        self.num_hits += table.num_rows

    def close(self) -> None:
        """Write the footer."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def hits_file(path: Path) -> Iterator[HitsFile]:
    """Yield a file to write to, which bears its name once it is whole.

    Raises:
        ConfigurationError: It cannot be written there.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.touch()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}", remedy="Give another --output."
        ) from error
    file = HitsFile(draft)
    try:
        yield file
        file.close()
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def with_ids(table: pa.Table, ids: Sequence[str] | None) -> Any:
    """Return a table of hits with what the file calls each query, if it does."""
    if ids is None:
        return table
    names = pa.array(ids, pa.string()).take(table["query_index"].combine_chunks())
    return table.add_column(0, "query_id", names)
