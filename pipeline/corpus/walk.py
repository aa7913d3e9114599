"""Search folders for Parquet files, by what names mean in other people's tools.

What begins with `_` or `.` is left out, as Spark, Hive and pyarrow do, unless it is named. Of a
folder only `*.parquet` is read, though Impala writes `.parq` and Hive, Athena and BigQuery may
write no ending at all.
"""

import re
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

from embed_index.pipeline.corpus.nodes import Node
from embed_index.schemas.errors import ConfigurationError

SUFFIX = ".parquet"
_NOT_OURS = "lost+found"
_WILD = re.compile(r"[*?\[]")
_LIKE_ROWS = re.compile(
    r"[^.]*\d[^.]*"
    r"|.+\.(parq|pq|parquet|csv|tsv|jsonl?|ndjson|arrow|feather|orc|avro)"
    r"(\.(gz|bz2|xz|zst|lz4|snappy|zip|\d+))?",
    re.IGNORECASE,
)


class Walk:
    """Looks through folders, and keeps what it leaves out."""

    def __init__(self) -> None:
        self.ignored: list[Node] = []
        self.unlike: list[Node] = []
        """Files in folders that may well hold rows, and are not called `*.parquet`."""
        self._names: dict[str, frozenset[str]] = {}
        """What stands in the folders that were looked into."""

    def whole(self, node: Node) -> Iterator[Node]:
        """Yield a file that was named, or the Parquet files in and below a folder."""
        if node.is_folder():
            for _, files in self._folders(node, seen=set()):
                self.unlike += (file for file in files if _may_hold_rows(file))
                yield from (file for file in files if _has_suffix(file))
        elif node.is_file():
            yield node
        else:
            raise ConfigurationError(
                f"input: {node} is not a regular file",
                remedy="Give a Parquet file on a disk; it is not read from front to back.",
            )

    def matching(self, folder: Node, parts: Sequence[str]) -> Iterator[Node]:
        """Yield what a pattern stands for below a folder; a folder stands for its files."""
        if not parts:
            yield from self.whole(folder)
            return
        part, rest = parts[0], parts[1:]
        if part == "**":
            for inner, _ in self._folders(folder, seen=set()):
                yield from self.matching(inner, rest)
            return
        inside: Sequence[Node] = [folder.child(part)]
        if is_pattern(part):
            inside = [node for node in self._inside(folder) if fnmatchcase(node.name, part)]
        for node in inside:
            if _is_hidden(node.name) and part[0] != node.name[0]:
                self.ignored.append(node)
            elif node.exists() and (not rest or node.is_folder()):
                yield from self.matching(node, rest)

    def refuse_tables(self, files: Sequence[Node]) -> None:
        """Refuse folders in which some files are no longer, or not yet, part of the table.

        Raises:
            ConfigurationError: There is one.
        """
        first = {str(file).rpartition("/")[0]: file for file in files}
        folders = {str(folder): folder for file in first.values() for folder in file.parents()}
        for _, folder in sorted(folders.items()):
            kind = self._table_kind(folder)
            if kind:
                raise ConfigurationError(
                    f"input: {folder} is a table in {kind} format; its folder also holds files of"
                    " rows that were deleted or replaced, and only its log says which",
                    remedy="Export the table's current rows as plain Parquet files, and give"
                    " those.",
                )

    def _folders(self, folder: Node, *, seen: set[Hashable]) -> Iterator[tuple[Node, list[Node]]]:
        """Yield a folder and those below it, with their files; links are followed, but once."""
        identity = folder.identity()
        if identity in seen:
            return
        seen.add(identity)
        folders, files = [], []
        for node in self._inside(folder):
            if _is_hidden(node.name):
                if _has_suffix(node) or _may_be_folder(node):
                    self.ignored.append(node)
            elif node.is_folder():
                folders.append(node)
            elif node.is_file():
                files.append(node)
        yield folder, files
        # A file is called by its own name rather than by that of a link to its folder.
        for inner in sorted(folders, key=lambda node: node.is_link()):
            yield from self._folders(inner, seen=seen)

    def _inside(self, folder: Node) -> Sequence[Node]:
        nodes = folder.children()
        self._names[str(folder)] = frozenset(node.name for node in nodes)
        return nodes

    def _table_kind(self, folder: Node) -> str | None:
        if self._holds(folder, "_delta_log"):
            return "Delta"
        if self._holds(folder, ".hoodie"):
            return "Hudi"
        if self._holds(folder, "metadata"):
            with suppress(ConfigurationError):
                inside = folder.child("metadata").children()
                if any(node.name.endswith(".metadata.json") for node in inside):
                    return "Iceberg"
        return None

    def _holds(self, folder: Node, name: str) -> bool:
        names = self._names.get(str(folder))
        if names is not None and name not in names:
            return False
        # Above what was named, rights may end; whoever cannot look there is not told of tables.
        return _may_be_folder(folder.child(name))


def is_pattern(text: str) -> bool:
    """Tell whether a text has characters that stand for others."""
    return bool(_WILD.search(text))


def _may_be_folder(node: Node) -> bool:
    with suppress(ConfigurationError):
        return node.exists() and node.is_folder()
    return False


def _has_suffix(node: Node) -> bool:
    stem, dot, ending = node.name.rpartition(".")
    return bool(stem and dot) and f".{ending}".lower() == SUFFIX


def _may_hold_rows(node: Node) -> bool:
    return not _has_suffix(node) and bool(_LIKE_ROWS.fullmatch(node.name))


def _is_hidden(name: str) -> bool:
    # A partition folder such as `_day=3` is none of Spark's own, which draws the same line.
    return name[0] == "." or (name[0] == "_" and "=" not in name) or name == _NOT_OURS
