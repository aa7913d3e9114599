"""Files opened, and what goes wrong with them in words for people."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embed_index.pipeline.corpus.files import CorpusFile, open_bytes
from embed_index.pipeline.storage.files import changed
from embed_index.schemas.errors import ConfigurationError, shortened
from embed_index.schemas.limits import LFS_POINTER

_READ_BUFFER_BYTES = 1 << 20
_MAX_REASON_CHARS = 300
MEND_FILE = (
    "A damaged file must be written again, and one that is encrypted without encryption, for it"
    " cannot be decrypted here; or leave it out of --input, or have runs skip such files with"
    ' on_bad_file = "skip".'
)


@contextmanager
def open_parquet(
    file: CorpusFile, *, read_dictionary: Sequence[str] = ()
) -> Iterator[pq.ParquetFile]:
    """Open a file whose pages are verified where they hold a checksum.

    Raises:
        ConfigurationError: It is no Parquet file that can be read.
        UnavailableError: It was taken away, or its store stays away.
    """
    parquet = _opened(file, read_dictionary)
    try:
        yield parquet
    finally:
        # pyarrow by itself closes what it opened, and that are paths alone.
        parquet.close(force=True)


def _opened(file: CorpusFile, read_dictionary: Sequence[str]) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(
            file if isinstance(file, Path) else file.open(),
            buffer_size=_READ_BUFFER_BYTES,
            pre_buffer=False,
            # The nanoseconds that Arrow would make of INT96 wrap round outside of 1677 to 2262.
            coerce_int96_timestamp_unit="us",
            page_checksum_verification=True,
            read_dictionary=list(read_dictionary),
            # UUIDs are told from other bytes.
            arrow_extensions_enabled=True,
        )
    except FileNotFoundError as error:
        raise changed(file) from error
    except PermissionError as error:
        raise ConfigurationError(
            f"input: {file} may not be read by this user",
            remedy="Allow it (chmod, chown), or run as the user who may.",
        ) from error
    except (pa.ArrowException, OSError, UnicodeError) as error:
        if _is_pointer(file):
            raise ConfigurationError(
                f"input: {file} is a pointer of Git LFS, not the file itself",
                remedy="Fetch it with `git lfs pull` in its repository.",
            ) from error
        if isinstance(error, pa.ArrowNotImplementedError):
            raise ConfigurationError(
                f"input: {file} holds what Arrow cannot read ({_reason(error)})",
                remedy="Write it without that column, or with another type for it; a decimal or a"
                " string holds integers of any length.",
            ) from error
        # Arrow takes neither a file name nor a column name that is not UTF-8.
        raise ConfigurationError(
            f"input: {file} is not a readable Parquet file ({_reason(error)})", remedy=MEND_FILE
        ) from error


def _is_pointer(file: CorpusFile) -> bool:
    with suppress(OSError), open_bytes(file) as opened:
        return opened.read(len(LFS_POINTER)) == LFS_POINTER
    return False


@contextmanager
def readable_errors(file: CorpusFile | str, row_group: int, row: int) -> Iterator[None]:
    """Say where in a file Arrow met what it could not read."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:
        # A damaged footer may name columns of a row group otherwise than its schema does.
        raise ConfigurationError(
            f"input: {file} cannot be read at row group {row_group}, about row {row}"
            f" ({_reason(error)})",
            remedy=MEND_FILE,
        ) from error


def _reason(error: Exception) -> str:
    """Say in Arrow's own words what it met; they name columns and lengths, never values."""
    words = " ".join(str(error).split())
    return shortened(words, max_chars=_MAX_REASON_CHARS) or type(error).__name__
