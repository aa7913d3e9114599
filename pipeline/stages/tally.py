"""What a run has done so far, counted where it happens."""

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import compress

from embed_index.pipeline.ledger.letters import OpenDeadLetters
from embed_index.pipeline.stages.dead_letters import DeadLetterFile
from embed_index.schemas.records import Chunk, DeadLetter
from embed_index.schemas.summary import RunCounters

_MAX_UNTOLD = 1000


class RunTally:
    """The counts of one run as they grow; each has one writing thread."""

    def __init__(self) -> None:
        self.num_files = 0
        self.num_documents_read = 0
        self.num_documents_done = 0
        self.num_new = 0
        self.num_changed = 0
        self.num_unchanged = 0
        self.num_refreshed = 0
        self.num_deleted = 0
        self.num_missing = 0
        self.num_repeated = 0
        self.num_chunks_embedded = 0
        self.num_chunks_reused = 0
        self.num_tokens = 0
        self.num_tokens_saved = 0
        self.num_dead_letters = 0
        self.num_files_skipped = 0

    def count_embedded(self, chunks: Sequence[Chunk]) -> None:
        """Count chunks that were embedded."""
        self.num_chunks_embedded += len(chunks)
        self.num_tokens += sum(chunk.num_tokens for chunk in chunks)

    def count_reused(self, chunks: Sequence[Chunk]) -> None:
        """Count chunks whose vectors were there."""
        self.num_chunks_reused += len(chunks)
        self.num_tokens_saved += sum(chunk.num_tokens for chunk in chunks)

    def counters(self, *, seconds: float) -> RunCounters:
        """Return the counts at this moment."""
        return RunCounters(seconds=seconds, **vars(self))


class DeadLetterBox:
    """Takes the dead letters of one run, from any thread, to its file and to the ledger."""

    def __init__(
        self,
        file: DeadLetterFile,
        *,
        ledger: OpenDeadLetters,
        version: str,
        run: int,
        tally: RunTally,
    ) -> None:
        self._file = file
        self._ledger = ledger
        self._version = version
        self._run = run
        self._tally = tally
        self._lock = threading.Lock()
        self._untold: list[DeadLetter] = []

    def record(self, letters: Iterable[DeadLetter]) -> None:
        """Keep letters: first in the ledger, which survives a crash, then in the run's file."""
        kept = tuple(letters)
        if not kept:
            return
        with self._lock:
            self._keep(self._ledger.record(kept, version=self._version, run=self._run))

    def recall(self, are_met: Callable[[Sequence[int]], Iterable[bool]]) -> None:
        """Count dead chunks of earlier runs again: of unchanged documents, and not tried anew.

        Args:
            are_met: Says of rows of the ledger whether this run met their documents.
        """
        for step in self._ledger.of_dead_chunks(self._version, run=self._run):
            rows, letters = zip(*step, strict=True)
            with self._lock:
                self._keep(list(compress(letters, are_met(rows))))

    def _keep(self, letters: Sequence[DeadLetter]) -> None:
        self._file.write(letters)
        self._tally.num_dead_letters += len(letters)
        # Whoever reports progress asks often; nobody needs more of them at once than this.
        self._untold = [*self._untold, *letters][-_MAX_UNTOLD:]

    def take_untold(self) -> list[DeadLetter]:
        """Return the letters since the last call, the newest where there are very many."""
        with self._lock:
            untold, self._untold = self._untold, []
        return untold
