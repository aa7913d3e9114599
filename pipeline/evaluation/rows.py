"""Rows of the files that labels come in: Parquet, JSON lines, and lines of words or columns."""

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson
import pyarrow as pa

from embed_index.pipeline.corpus.opening import open_parquet
from embed_index.schemas.errors import ConfigurationError

_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MAX_BYTES = 1 << 30


def is_parquet(path: Path) -> bool:
    """Tell by its first bytes whether a file is Parquet.

    Raises:
        ConfigurationError: It cannot be read.
    """
    return _start_of(path, len(_PARQUET)) == _PARQUET


def parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield the rows of Parquet by their number, from 1.

    Raises:
        ConfigurationError: It is damaged, or holds what Python does not.
    """
    number = 0
    with open_parquet(path) as parquet:
        try:
            for batch in parquet.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (pa.ArrowException, OSError, UnicodeError, ValueError) as error:
            raise ConfigurationError(
                f"{path} cannot be read after row {number:,} ({' '.join(str(error).split())})",
                remedy="Write it again.",
            ) from error


def text_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text that are not blank, by their number from 1; gzip is unpacked.

    Raises:
        ConfigurationError: It cannot be read, is not UTF-8, or holds nothing.
    """
    content = _content(path)
    if content.startswith(_UTF16):
        raise ConfigurationError(f"{path} is UTF-16, not UTF-8", remedy="Save it as UTF-8.")
    lines = []
    # Those of bytes: what Unicode calls an end of line may stand within a text.
    for number, line in enumerate(content.removeprefix(_BYTE_ORDER_MARK).splitlines(), start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f"{path}, line {number} is not UTF-8 at byte {error.start}",
                remedy="Save it as UTF-8.",
            ) from None
        if text.strip():
            lines.append((number, text))
    if not lines:
        raise ConfigurationError(f"{path} is empty", remedy="Give a file that holds something.")
    return lines


def json_row(path: Path, number: int, line: str) -> Mapping[str, object]:
    """Return the object of a JSON line.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        raise ConfigurationError(
            f"{path}, line {number} is no JSON object", remedy="Write one object a line."
        )
    return row


def _start_of(path: Path, num_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(num_bytes)
    except OSError as error:
        raise _unreadable(path, error) from error


def _content(path: Path) -> bytes:
    try:
        if _start_of(path, len(_GZIP)) == _GZIP:
            with gzip.open(path) as packed:
                content = packed.read(_MAX_BYTES + 1)
        else:
            with path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigurationError(
            f"{path} is a damaged gzip file ({error})", remedy="Pack it again."
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(
            f"{path} is larger than {_MAX_BYTES >> 30} GiB", remedy="Give a sample of it."
        )
    return content


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{path} cannot be read: {error.strerror}", remedy="Check the path and its mode."
    )
