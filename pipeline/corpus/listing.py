"""Which files a corpus consists of; what cannot be looked at ends the search with its name.

A file that is merely not found would have its documents deleted. So an unreadable folder or a link
to nowhere is an error, links are followed, and a table whose folder holds dead files is refused.
What begins with `_` or `.` is left out, as Spark, Hive and pyarrow do, unless it is named.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from embed_index.schemas.errors import ConfigurationError

_SUFFIX = ".parquet"
_NOT_OURS = "lost+found"
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_WILD = re.compile(r"[*?\[]")
_MEND_PLACE = (
    "Mend it or take it away: documents must not count as missing because nobody could look."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files of a corpus, in order, and how errors and sources call them."""

    files: tuple[Path, ...]
    names: tuple[str, ...]
    """Relative to the folder they share, so that moving the corpus changes nothing."""
    ignored: tuple[Path, ...]
    """Folders and Parquet files left out because of how they are called."""


def list_corpus(inputs: Sequence[str]) -> Listing:
    """Find the files that files, folders and glob patterns stand for; each file once.

    Args:
        inputs: Files, folders (searched for `*.parquet` below them) and glob patterns, in which
            `**` stands for any number of folders.

    Raises:
        ConfigurationError: Nothing is there, it cannot be looked at, or it is not plain Parquet.
    """
    walk = _Walk()
    files: list[Path] = []
    for text in inputs:
        files.extend(_find(text, walk))
    if not files:
        raise ConfigurationError(
            "input: no Parquet file was named",
            remedy="Give --input, or `input` under [source] in the job file.",
        )
    once: dict[Path, Path] = {}
    for file in files:
        once.setdefault(file.resolve(), file)
    files = list(once.values())
    _refuse_tables(files)
    ignored = tuple(dict.fromkeys(path for path in walk.ignored if path.resolve() not in once))
    return Listing(files=tuple(files), names=_shorten(files), ignored=ignored)


def _find(text: str, walk: "_Walk") -> list[Path]:
    scheme = _ADDRESS.match(text)
    if scheme:
        raise ConfigurationError(
            f"input: {scheme[1]}:// addresses are not supported yet",
            remedy="Give a path: copy the files to this machine, or mount the store.",
        )
    path = _absolute(Path(text).expanduser())
    if _exists(path):
        found, flaw = sorted(walk.whole(path)), f"holds no *{_SUFFIX} file"
    else:
        found = sorted(set(walk.matching(Path(path.anchor), path.parts[1:])))
        flaw = "matches no file" if _WILD.search(text) else "does not exist"
    if not found:
        raise ConfigurationError(
            f"input: {text} {flaw}", remedy="Give Parquet files, folders or glob patterns."
        )
    return found


class _Walk:
    """Looks through folders, and keeps what it leaves out."""

    def __init__(self) -> None:
        self.ignored: list[Path] = []

    def whole(self, path: Path) -> Iterator[Path]:
        """Yield a file that was named, or the Parquet files in and below a folder."""
        if _is_folder(path):
            for _, files in self._folders(path, seen=set()):
                yield from (file for file in files if _has_suffix(file))
        elif stat.S_ISREG(_stat(path).st_mode):
            yield path
        else:
            raise ConfigurationError(
                f"input: {path} is not a regular file",
                remedy="Give a Parquet file on a disk; it is not read from front to back.",
            )

    def matching(self, folder: Path, parts: Sequence[str]) -> Iterator[Path]:
        """Yield what a pattern stands for below a folder; a folder stands for its files."""
        if not parts:
            yield from self.whole(folder)
            return
        part, rest = parts[0], parts[1:]
        if part == "**":
            for inner, _ in self._folders(folder, seen=set()):
                yield from self.matching(inner, rest)
            return
        inside = [folder / part]
        if _WILD.search(part):
            inside = [path for path in _scan(folder) if fnmatchcase(path.name, part)]
        for path in inside:
            if _is_hidden(path.name) and part[0] != path.name[0]:
                self.ignored.append(path)
            elif _exists(path) and (not rest or _is_folder(path)):
                yield from self.matching(path, rest)

    def _folders(
        self, folder: Path, *, seen: set[tuple[int, int]]
    ) -> Iterator[tuple[Path, list[Path]]]:
        """Yield a folder and those below it, with their files; links are followed, but once."""
        status = _stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        folders, files = [], []
        for path in _scan(folder):
            if _is_hidden(path.name):
                if _has_suffix(path) or os.path.isdir(path):  # noqa: PTH112 - never raises
                    self.ignored.append(path)
            elif _is_folder(path):
                folders.append(path)
            elif stat.S_ISREG(_stat(path).st_mode):
                files.append(path)
        yield folder, files
        # A file is called by its own name rather than by that of a link to its folder.
        for inner in sorted(folders, key=os.path.islink):
            yield from self._folders(inner, seen=seen)


def _absolute(path: Path) -> Path:
    """Make a path absolute, links kept, for files are called by them; `..` goes."""
    path = path.absolute()
    num_climbing = len(path.parts) - path.parts[::-1].index("..") if ".." in path.parts else 0
    if not num_climbing:
        return path
    return Path(*path.parts[:num_climbing]).resolve().joinpath(*path.parts[num_climbing:])


def _has_suffix(path: Path) -> bool:
    return path.suffix.lower() == _SUFFIX


def _is_hidden(name: str) -> bool:
    # A partition folder such as `_day=3` is none of Spark's own, which draws the same line.
    return name[0] == "." or (name[0] == "_" and "=" not in name) or name == _NOT_OURS


def _scan(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise _unseen(folder, error) from error


def _exists(path: Path) -> bool:
    """Tell whether a path stands for something, be it a link to nowhere."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unseen(path, error) from error
    return True


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(_stat(path).st_mode)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unseen(path, error) from error


def _unseen(path: Path, error: OSError) -> ConfigurationError:
    reason = error.strerror or type(error).__name__
    if os.path.islink(path):  # noqa: PTH114 - never raises
        reason = f"is a link to {path.readlink()}, which cannot be followed: {reason}"
    else:
        reason = f"cannot be looked at: {reason}"
    return ConfigurationError(f"input: {path} {reason}", remedy=_MEND_PLACE)


def _refuse_tables(files: Sequence[Path]) -> None:
    """Refuse folders in which some files are no longer, or not yet, part of the table."""
    holding = {file.parent for file in files}
    for folder in sorted(holding.union(*(folder.parents for folder in holding))):
        if (folder / "_delta_log").is_dir():
            kind = "Delta"
        elif (folder / ".hoodie").is_dir():
            kind = "Hudi"
        elif any((folder / "metadata").glob("*.metadata.json")):
            kind = "Iceberg"
        else:
            continue
        raise ConfigurationError(
            f"input: {folder} is a table in {kind} format; its folder also holds files of rows"
            " that were deleted or replaced, and only its log says which",
            remedy="Export the table's current rows as plain Parquet files, and give those.",
        )


def _shorten(files: Sequence[Path]) -> tuple[str, ...]:
    shared = os.path.commonpath([file.parent for file in files])
    return tuple(file.relative_to(shared).as_posix() for file in files)
