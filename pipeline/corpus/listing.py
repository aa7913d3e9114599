"""Which files a corpus consists of; what cannot be looked at ends the search with its name.

A file that is merely not found would have its documents deleted. So an unreadable folder or a link
to nowhere is an error, links are followed, and a table whose folder holds dead files is refused.
"""

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embed_index.pipeline.corpus.files import CorpusFile
from embed_index.pipeline.corpus.nodes import LocalNode, Node, StoredNode
from embed_index.pipeline.corpus.walk import SUFFIX, Walk, is_pattern
from embed_index.pipeline.storage.address import local_path, parse_storage_address, scheme_of
from embed_index.pipeline.storage.store import Storage
from embed_index.schemas.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files of a corpus, in order, and how errors and sources call them."""

    files: tuple[CorpusFile, ...]
    names: tuple[str, ...]
    """On disks relative to the folder they share, so that moving the corpus changes nothing; in
    stores their addresses."""
    ignored: tuple[Node, ...]
    """Folders and Parquet files left out because of how they are called."""


def list_corpus(inputs: Sequence[str], *, storage: Storage | None = None) -> Listing:
    """Find the files that files, folders and glob patterns stand for; each file once.

    Args:
        inputs: Files, folders (searched for `*.parquet` below them) and glob patterns, in which
            `**` stands for any number of folders; as paths, or as addresses of stores.
        storage: Where addresses are looked at; None for stores in their usual places.

    Raises:
        ConfigurationError: Nothing is there, it cannot be looked at, or it is not plain Parquet.
        UnavailableError: A store stays away.
    """
    walk, storage = Walk(), storage or Storage()
    found: list[Node] = []
    for text in inputs:
        found.extend(_find(text, walk, storage))
    if not found:
        raise ConfigurationError(
            "input: no Parquet file was named",
            remedy="Give --input, or `input` under [source] in the job file.",
        )
    once: dict[Hashable, Node] = {}
    for node in found:
        once.setdefault(node.resolved(), node)
    nodes = list(once.values())
    walk.refuse_tables(nodes)
    ignored = {str(node): node for node in walk.ignored if node.resolved() not in once}
    files = tuple(node.file() for node in nodes)
    return Listing(files=files, names=_shorten(files), ignored=tuple(ignored.values()))


def _find(text: str, walk: Walk, storage: Storage) -> Sequence[Node]:
    found: Sequence[Node]
    named, top, parts = _place_of(text, storage)
    if named.exists():
        found, flaw = list(walk.whole(named)), f"holds no *{SUFFIX} file"
    else:
        found = list({str(node): node for node in walk.matching(top, parts)}.values())
        flaw = "matches no file" if is_pattern(text) else "does not exist"
    if not found:
        raise ConfigurationError(
            f"input: {text} {flaw}", remedy="Give Parquet files, folders or glob patterns."
        )
    return sorted(found, key=lambda node: str(node).split("/"))


def _place_of(text: str, storage: Storage) -> tuple[Node, Node, Sequence[str]]:
    """Return what a text names, a folder above it, and the path from there."""
    scheme = scheme_of(text)
    if scheme in (None, "file"):
        path = local_path(text) if scheme else Path(text).expanduser()
        path = _absolute(path)
        return LocalNode(path), LocalNode(Path(path.anchor)), path.parts[1:]
    address = parse_storage_address(text)
    store = storage.store(address)
    parts = address.key.split("/") if address.key else []
    # Rights may begin below the top, so what is no pattern is not looked for part by part.
    num_plain = next((n for n, part in enumerate(parts) if is_pattern(part)), len(parts))
    top = StoredNode(store, "/".join(parts[:num_plain]), is_folder=True)
    return StoredNode(store, address.key), top, parts[num_plain:]


def _absolute(path: Path) -> Path:
    """Make a path absolute, links kept, for files are called by them; `..` goes."""
    path = path.absolute()
    num_climbing = len(path.parts) - path.parts[::-1].index("..") if ".." in path.parts else 0
    if not num_climbing:
        return path
    return Path(*path.parts[:num_climbing]).resolve().joinpath(*path.parts[num_climbing:])


def _shorten(files: Sequence[CorpusFile]) -> tuple[str, ...]:
    local = {str(file).rpartition("/")[0] or "/" for file in files if isinstance(file, Path)}
    shared = os.path.commonpath(local) if local else ""
    length = len(shared.rstrip("/")) + 1
    return tuple(str(file)[length:] if isinstance(file, Path) else str(file) for file in files)
