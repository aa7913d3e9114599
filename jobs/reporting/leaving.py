"""Leaves a report of a run behind, however the run ended, and never changes how it ended."""

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from embed_index.jobs.cli.progress import Reporter
from embed_index.pipeline.report.placing import check_place
from embed_index.schemas.errors import EmbedIndexError
from embed_index.schemas.settings import JobSettings

_MAX_SECONDS = 600.0
_GRACE_SECONDS = 5.0


@contextmanager
def leaving_report(settings: JobSettings, *, reporter: Reporter) -> Iterator[None]:
    """Write the report, if there is to be one, when the enclosed run is over.

    It is made by a process of its own: whatever becomes of that, the run's outcome stands, and so
    does the memory that it needed. What went wrong is a notice.

    Raises:
        ConfigurationError: The file cannot be where it should be; nothing was started.
    """
    path = settings.report
    if path is None:
        yield
        return
    check_place(path, setting="report")
    try:
        yield
    except KeyboardInterrupt:
        # Somebody waits for the end.
        raise
    except BaseException:
        _make(settings, path, reporter=reporter)
        raise
    _make(settings, path, reporter=reporter)


def _make(settings: JobSettings, path: Path, *, reporter: Reporter) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_make_and_tell, args=(settings, path, theirs), name="embed-index report", daemon=True
    )
    process.start()
    theirs.close()
    try:
        process.join(_MAX_SECONDS)
        told = ours.recv() if process.exitcode == 0 and ours.poll() else _fate(process.exitcode)
    finally:
        process.terminate()
        process.join(_GRACE_SECONDS)
        process.kill()
        ours.close()
    if told:
        reporter.notice(f"no report was left in {path}: {told}")


def _fate(code: int | None) -> str:
    if code is None:
        return f"it took more than {_MAX_SECONDS:,.0f} s"
    return f"its process ended with exit code {code}"


def _make_and_tell(settings: JobSettings, path: Path, told: Connection) -> None:
    """Make the report, in its own process; send why there is none, and nothing if there is."""
    from embed_index.jobs.reporting.report import make_report, wishes_of

    try:
        make_report(settings, path=path, wishes=wishes_of(settings))
    except EmbedIndexError as error:
        told.send(str(error))
    else:
        told.send("")
    told.close()
    sys.stderr.flush()
