"""Which files a corpus consists of; what cannot be looked at ends the search with its name.

A file that is merely not found would have its documents deleted. So an unreadable folder or a link
to nowhere is an error, links are followed, and a table whose folder holds dead files is refused.
"""

import os
from collections.abc import Hashable, Mapping, Sequence
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
    unlike: tuple[Node, ...]
    """Files left out that may well hold rows, because they are not called `*.parquet`."""

    def notices(self) -> list[str]:
        """Return what should be said of files that are not read, for people."""
        told = []
        if self.ignored:
            told.append(
                "input: not read because of their names, which begin with '_' or '.':"
                f" {len(self.ignored):,}, such as {self.ignored[0]}; give it as --input of its own"
                " if it belongs to the corpus"
            )
        if self.unlike:
            told.append(
                f"input: not read because their names do not end in {SUFFIX}:"
                f" {len(self.unlike):,}, such as {self.unlike[0]}; give it as --input of its own if"
                " it is Parquet and belongs to the corpus"
            )
        return told


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
    files = tuple(node.file() for node in nodes)
    return Listing(
        files=files,
        names=_shorten(files),
        ignored=_left_out(walk.ignored, once),
        unlike=_left_out(walk.unlike, once),
    )


def _left_out(nodes: Sequence[Node], found: Mapping[Hashable, Node]) -> tuple[Node, ...]:
    left = {str(node): node for node in nodes if node.resolved() not in found}
    return tuple(left.values())


def _find(text: str, walk: Walk, storage: Storage) -> Sequence[Node]:
    found: Sequence[Node]
    named, top, parts = _place_of(text, storage)
    num_before = len(walk.unlike)
    if named.exists():
        found, flaw = list(walk.whole(named)), f"holds no *{SUFFIX} file"
        if unlike := walk.unlike[num_before:]:
            flaw += f", but others, such as {unlike[0].name}"
    else:
        found = list({str(node): node for node in walk.matching(top, parts)}.values())
        flaw = "matches no file" if is_pattern(text) else "does not exist"
    if not found:
        several = " Give each of several by an --input of its own." if "," in text else ""
        raise ConfigurationError(
            f"input: {text} {flaw}",
            remedy="Give Parquet files, folders or glob patterns, such as 'corpus/*.parq'."
            f"{several}",
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
