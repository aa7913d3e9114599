"""What a run has done so far, and what it did in the end."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Self

from embed_index.schemas.counts import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCounters:
    """The counts of one run, as progress, history, metrics and the closing summary give them."""

    num_files: int = 0
    """Of the corpus, where all of it was read."""
    num_documents_read: int = 0
    """Rows of the corpus, dead letters included."""
    num_documents_done: int = 0
    """Settled: committed, unchanged, or dead letters."""
    num_new: int = 0
    num_changed: int = 0
    num_unchanged: int = 0
    num_refreshed: int = 0
    """Of the same text with other carried metadata; their vectors were kept."""
    num_deleted: int = 0
    num_missing: int = 0
    """In the collection, no longer in the corpus, and left where they are."""
    num_repeated: int = 0
    """Rows with a text that an earlier row has, where ids are made of texts."""
    num_chunks_embedded: int = 0
    num_chunks_reused: int = 0
    """Of changed documents; their text was the same, so their vectors were kept."""
    num_tokens: int = 0
    """Embedded in this run."""
    num_tokens_saved: int = 0
    """Of chunks whose vectors were kept."""
    num_dead_letters: int = 0
    """Also of chunks that an earlier run was refused, as long as their document is unchanged."""
    num_files_skipped: int = 0
    """Could not be read, or not to their end; each is a dead letter, too."""
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Over the whole run, start of the server included."""
        return self.num_tokens / self.seconds if self.seconds > 0 else 0.0

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read stored counters; unknown names are dropped and absent ones are zero."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary(RunCounters):
    """What a run did, and to what."""

    collection: str
    version: str
    """The collection behind the alias that was written to, such as `articles_v1`."""
    dead_letters_file: str | None = None
    """None when there are no dead letters."""
    precision: str = ""
    """In which the run's vectors were made; empty where it needed none."""
    num_documents_left: int | None = 0
    """Of which a run that ended early leaves the collection as it was; None where unknown."""

    def to_dict(self) -> dict[str, str | int | float | None]:
        """Return everything, the rate included, under the names used here."""
        return asdict(self) | {"tokens_per_second": round(self.tokens_per_second, 1)}

    def to_text(self) -> str:
        """Return the closing summary for people, several lines."""
        lines = [
            ("collection", f"{self.collection} ({self.version})"),
            ("documents", f"{self.num_documents_read:,} ({self._changes()})"),
            ("chunks", f"{self.num_chunks_embedded:,} embedded, {self.num_chunks_reused:,} kept"),
            ("tokens", f"{self.num_tokens:,} embedded, {self.num_tokens_saved:,} saved"),
            *((("precision", self.precision),) if self.precision else ()),
            *((("skipped files", self._skipped()),) if self.num_files_skipped else ()),
            ("dead letters", self._dead_letters()),
            *((("left", self._left()),) if self.num_documents_left != 0 else ()),
            ("time", f"{self.seconds:,.1f} s, {self.tokens_per_second:,.0f} tokens/s"),
        ]
        return "\n".join(f"{name:<13} {text}" for name, text in lines)

    def _changes(self) -> str:
        names = ["new", "changed", "unchanged", "refreshed", "deleted"]
        names += [name for name in ("missing", "repeated") if getattr(self, f"num_{name}")]
        return ", ".join(f"{getattr(self, f'num_{name}'):,} {name}" for name in names)

    def _skipped(self) -> str:
        return f"{self.num_files_skipped:,}; nothing was deleted, for documents may stand in them"

    def _left(self) -> str:
        left = self.num_documents_left
        what = "an unknown number of documents" if left is None else counted(left, "document")
        return f"{what}; the next run goes on with what is left"

    def _dead_letters(self) -> str:
        place = f", see {self.dead_letters_file}" if self.dead_letters_file else ""
        return f"{self.num_dead_letters:,}{place}"
