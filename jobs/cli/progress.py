"""Says how a run gets on: a bar on a terminal, JSON lines, or nothing until the end."""

import json
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Never, Protocol, TextIO

from tqdm import tqdm

from embed_index.schemas.counts import counted
from embed_index.schemas.records import DeadLetter
from embed_index.schemas.settings import JobSettings
from embed_index.schemas.summary import RunCounters, RunSummary
from embed_index.schemas.waits import WAITS

PROGRESS_SECONDS = 10.0
WAIT_SECONDS = 3.0
_PACE_SECONDS = 30.0
_BAR_FORMAT = "{desc}: {percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} [{elapsed}<LEFT{postfix}]"
"""The words behind the bar would leave it one character of 120 columns."""


class Reporter(Protocol):
    """What a run tells; every method is quick, and all are called from one thread."""

    def started(self, *, collection: str, num_documents: int) -> None:
        """Begin; `num_documents` is how many rows the corpus has."""

    def progressed(self, counters: RunCounters, *, waiting_for: str) -> None:
        """Show how far the run is, several times a second.

        Args:
            counters: The counts at this moment.
            waiting_for: What holds the run up, such as `Milvus`; empty for nothing.
        """

    def dead_letter(self, letter: DeadLetter) -> None:
        """Tell of a dead letter."""

    def notice(self, message: str) -> None:
        """Tell of trouble that the run gets over by itself, such as a server started again."""

    def finished(self, summary: RunSummary, *, failure: BaseException | None = None) -> None:
        """Give the closing summary.

        Args:
            summary: What the run did.
            failure: What the run is about to raise, although it did all this.
        """

    def close(self) -> None:
        """Leave the terminal as it was; also after a failure."""


class PlainReporter:
    """Silent until the closing summary, the run's result; `quiet` leaves that out, too.

    Only what the first vector waits for is told once, where it takes long: a server may start for
    minutes.
    """

    def __init__(self, *, stream: TextIO, results: TextIO, quiet: bool = False) -> None:
        self._stream = stream
        self._results = results
        self._quiet = quiet
        self._waits_since: float | None = None
        self._has_told = False

    def started(self, *, collection: str, num_documents: int) -> None:
        """Begin in silence."""

    def progressed(self, counters: RunCounters, *, waiting_for: str) -> None:
        """Go on in silence, unless the run waits before it has embedded anything."""
        if self._has_told or counters.num_tokens or not waiting_for:
            return
        if self._waits_since is None:
            self._waits_since = counters.seconds
        elif counters.seconds - self._waits_since >= WAIT_SECONDS:
            self._has_told = True
            self.notice(f"waiting for {waiting_for}")

    def dead_letter(self, letter: DeadLetter) -> None:
        """Leave it to the summary."""

    def notice(self, message: str) -> None:
        """Write it as a line of its own."""
        if not self._quiet:
            tqdm.write(message, file=self._stream)

    def finished(self, summary: RunSummary, *, failure: BaseException | None = None) -> None:
        """Write the closing summary; a failure carries it, so that its own line comes first."""
        self.close()
        if self._quiet:
            return
        if failure is not None:
            failure.add_note(summary.to_text())
            return
        self._results.write(summary.to_text() + "\n")
        self._results.flush()

    def close(self) -> None:
        """Nothing is open."""


class _Rate:
    """Tokens per second since the first, so that the server's start does not count."""

    def __init__(self) -> None:
        self._first: RunCounters | None = None

    def tokens_per_second(self, now: RunCounters) -> float:
        if self._first is None or not self._first.num_tokens:
            self._first = now
        seconds = now.seconds - self._first.seconds
        return (now.num_tokens - self._first.num_tokens) / seconds if seconds > 0 else 0.0


class _Pace:
    """How fast documents were done of late; a rush of unchanged ones does not count for long.

    What was done before the first vector, a server's start included, says nothing of what follows.
    """

    def __init__(self) -> None:
        self._moments: deque[tuple[float, int]] = deque()
        self._is_embedding = False

    def seconds_left(
        self, now: RunCounters, *, num_documents: int, is_waiting: bool
    ) -> float | None:
        """Return how long the rest takes; None where nothing moves."""
        if not self._is_embedding and (is_waiting or now.num_tokens):
            self._is_embedding = bool(now.num_tokens)
            self._moments.clear()
        done = now.num_documents_done
        self._moments.append((now.seconds, done))
        while self._moments[0][0] < now.seconds - _PACE_SECONDS:
            self._moments.popleft()
        seconds, before = self._moments[0]
        if done == before or done > num_documents:
            return None
        return (num_documents - done) * (now.seconds - seconds) / (done - before)


def _bar_format(seconds_left: float | None) -> str:
    left = "?" if seconds_left is None else tqdm.format_interval(seconds_left)
    return _BAR_FORMAT.replace("LEFT", left)


class TerminalReporter(PlainReporter):
    """One bar: documents, time left, chunks, tokens per second, dead letters, what it waits for."""

    def __init__(self, *, stream: TextIO, results: TextIO) -> None:
        super().__init__(stream=stream, results=results)
        self._rate = _Rate()
        self._pace = _Pace()
        self._num_documents = 0
        self._bar: tqdm[Never] | None = None

    def started(self, *, collection: str, num_documents: int) -> None:
        """Draw the bar."""
        self._num_documents = num_documents
        self._bar = tqdm(
            total=num_documents,
            desc=collection,
            bar_format=_bar_format(None),
            file=self._stream,
            dynamic_ncols=True,
            leave=False,
        )

    def progressed(self, counters: RunCounters, *, waiting_for: str) -> None:
        """Redraw the bar."""
        if self._bar is None:
            return
        left = self._pace.seconds_left(
            counters, num_documents=self._num_documents, is_waiting=bool(waiting_for)
        )
        parts = [
            counted(counters.num_chunks_embedded, "chunk"),
            f"{self._rate.tokens_per_second(counters):,.0f} tokens/s",
        ]
        if counters.num_dead_letters:
            parts.append(counted(counters.num_dead_letters, "dead letter"))
        if waiting_for:
            parts.append(f"waiting for {waiting_for}")
        self._bar.bar_format = _bar_format(left)
        self._bar.n = counters.num_documents_done
        self._bar.set_postfix_str(", ".join(parts), refresh=True)

    def close(self) -> None:
        """Wipe the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class JsonReporter(PlainReporter):
    """One JSON object a line: events to one stream, the summary as the result to another."""

    def __init__(
        self,
        *,
        events: TextIO,
        results: TextIO,
        quiet: bool = False,
        progress_seconds: float = PROGRESS_SECONDS,
    ) -> None:
        super().__init__(stream=events, results=results, quiet=quiet)
        self._rate = _Rate()
        self._progress_seconds = progress_seconds
        self._next_seconds = progress_seconds

    def started(self, *, collection: str, num_documents: int) -> None:
        """Write a start event."""
        self._event("start", {"collection": collection, "num_documents": num_documents})

    def progressed(self, counters: RunCounters, *, waiting_for: str) -> None:
        """Write a progress event, once per interval."""
        rate = self._rate.tokens_per_second(counters)
        if counters.seconds < self._next_seconds:
            return
        self._next_seconds = counters.seconds + self._progress_seconds
        self._event(
            "progress",
            asdict(counters) | {"tokens_per_second": round(rate, 1), "waiting_for": waiting_for},
        )

    def dead_letter(self, letter: DeadLetter) -> None:
        """Write a dead letter event, without the document's text."""
        self._event("dead_letter", asdict(letter) | {"source": str(letter.source)})

    def notice(self, message: str) -> None:
        """Write a notice event."""
        self._event("notice", {"message": message})

    def finished(self, summary: RunSummary, *, failure: BaseException | None = None) -> None:  # noqa: ARG002
        """Write the summary, which is what the run results in."""
        _write_event(self._results, "summary", summary.to_dict())

    def _event(self, name: str, fields: Mapping[str, object]) -> None:
        if not self._quiet:
            _write_event(self._stream, name, fields)


def _write_event(stream: TextIO, name: str, fields: Mapping[str, object]) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"time": now, "event": name, **fields}
    # ASCII, because a document's id may hold what the stream's encoding does not.
    stream.write(json.dumps(line) + "\n")
    stream.flush()


@contextmanager
def open_reporter(
    settings: JobSettings, *, stdout: TextIO | None = None, stderr: TextIO | None = None
) -> Iterator[Reporter]:
    """Yield the reporter that settings and terminal call for, and close it whatever happens."""
    stdout, stderr = stdout or sys.stdout, stderr or sys.stderr
    reporter: Reporter
    if settings.log_format == "json":
        reporter = JsonReporter(events=stderr, results=stdout, quiet=settings.quiet)
    elif settings.log_format == "auto" and stderr.isatty() and not settings.quiet:
        reporter = TerminalReporter(stream=stderr, results=stdout)
    else:
        reporter = PlainReporter(stream=stderr, results=stdout, quiet=settings.quiet)
    try:
        with WAITS.telling(reporter.notice):
            yield reporter
    finally:
        reporter.close()
