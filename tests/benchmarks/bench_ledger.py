"""Measure what the ledger costs in a night, at any number of documents.

    python tests/benchmarks/bench_ledger.py [NUM_DOCUMENTS] [--folder FOLDER] [--keep]

The ledger is written as a run leaves it, 200 bytes a document in FOLDER. Then come an unchanged
night, one with 1,000 changes scattered over the corpus, and one with a row put in front of it;
nothing but the ledger's part, in process time, beside what reading and hashing as many documents of
1 KB take, which is measured on 200,000 and multiplied. Whole nights in another order are left to
`bench_unchanged.py`.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "benchmarks")]

from bench_unchanged import read_and_hash, write_corpus  # noqa: E402

from embed_index.pipeline.ledger.documents import DocumentLedger  # noqa: E402
from embed_index.pipeline.ledger.entries import LedgerDocument  # noqa: E402
from embed_index.pipeline.ledger.ledger import Ledger  # noqa: E402
from embed_index.pipeline.ledger.stretches import Proposal, Stretches, digest_of  # noqa: E402
from embed_index.pipeline.stages.comparison import CorpusPass  # noqa: E402
from embed_index.schemas.ids import text_hash  # noqa: E402
from embed_index.schemas.records import Words  # noqa: E402

STRETCH = 2048
NUM_READ = 200_000
CARRIED_HASH = text_hash("")
VERSION = ("docs_v1", "bench")
INSERT = (
    "INSERT INTO documents (id, version_id, doc_id, doc_hash, carried_hash, num_chunks, max_chunks,"
    " last_run, chunk_hashes) VALUES (?, 1, ?, ?, ?, 1, 1, 1, ?)"
)


@dataclass(frozen=True)
class Numbered:
    """Documents that are made of their numbers; those in `edited` have another text."""

    numbers: NDArray[np.int64]
    edited: frozenset[int] = frozenset()

    @cached_property
    def hashes(self) -> NDArray[np.uint32]:
        """Four words a text, mixed so that they look like a hash (splitmix64)."""
        words = []
        for salt in (1, 2):
            mixed = self.numbers.astype(np.uint64) * np.uint64(2) + np.uint64(salt << 56)
            mixed += np.isin(self.numbers, list(self.edited)).astype(np.uint64)
            for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
                mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
            words.append(mixed ^ (mixed >> np.uint64(31)))
        return np.column_stack(words).astype("<u8").view("<u4")

    @property
    def doc_ids(self) -> Sequence[str]:
        return [f"document-{number:09}" for number in self.numbers.tolist()]

    @property
    def doc_hashes(self) -> Sequence[str]:
        return [row.tobytes().hex() for row in self.hashes]

    @property
    def carried_hashes(self) -> Sequence[str]:
        return [CARRIED_HASH] * len(self.numbers)

    def file_ends(self) -> list[tuple[str, int]]:
        return [("all.parquet", len(self.numbers))]

    def words(self) -> Iterator[Words]:
        yield self.numbers[:, None].astype(np.uint64)
        yield self.hashes.astype(np.uint64)

    def take(self, places: Sequence[int]) -> "Numbered":
        return Numbered(self.numbers[np.asarray(places, dtype=np.int64)], self.edited)


def corpus(
    num_documents: int, *, edited: frozenset[int] = frozenset(), front: int = 0
) -> Iterator[Numbered]:
    """Yield the corpus in stretches, with new documents in front."""
    for start in range(-front, num_documents, STRETCH):
        numbers = np.arange(start, min(start + STRETCH, num_documents))
        # New ones have numbers that no other has.
        yield Numbered(np.where(numbers < 0, num_documents - numbers, numbers), edited)


def fill(path: Path, num_documents: int) -> None:
    with Ledger(path) as ledger:
        documents = ledger.documents(*VERSION[:1], collection_id=VERSION[1])
        stretches = Stretches(documents.file, version_id=documents.version_id)
        for part in corpus(num_documents):
            rows = part.numbers + 1
            columns = (rows.tolist(), part.doc_ids, part.doc_hashes)
            with documents.file.transaction() as connection:
                connection.executemany(
                    INSERT,
                    (
                        (row, doc_id, doc_hash, CARRIED_HASH, bytes.fromhex(doc_hash))
                        for row, doc_id, doc_hash in zip(*columns, strict=True)
                    ),
                )
            digests = stretches.digests(part)
            stretches.propose(Proposal(digest_of(digests), rows, digests, [], b""))
        stretches.seal()


class Clock:
    """Adds up process time, and tells it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last = time.process_time()

    def start(self) -> None:
        self._last = time.process_time()

    def stop(self) -> None:
        self.seconds += time.process_time() - self._last


def night(path: Path, parts: Iterator[Numbered]) -> tuple[float, int]:
    """Return what the ledger's part of a night took, and how many documents it wrote."""
    clock = Clock()
    with Ledger(path) as ledger:
        clock.start()
        documents = ledger.documents(VERSION[0], collection_id=VERSION[1])
        corpus_pass = CorpusPass(documents)
        clock.stop()
        num_written = 0
        for part in parts:
            _ = part.hashes
            clock.start()
            differences = corpus_pass.compare(part)
            if differences:
                _write(documents, part.take([difference.place for difference in differences]))
            num_written += len(differences)
            clock.stop()
        clock.start()
        if any(True for _ in corpus_pass.missing()):
            raise SystemExit("the ledger misses a document")
        corpus_pass.seal()
        ledger.dead_letters.close_unseen(VERSION[0], run=2)
        counts = documents.counts()
        clock.stop()
        if counts.num_pending:
            raise SystemExit("a document is not committed")
    return clock.seconds, num_written


def _write(documents: DocumentLedger, part: Numbered) -> None:
    documents.begin([(doc_id, 1) for doc_id in part.doc_ids])
    columns = (part.doc_ids, part.doc_hashes)
    documents.commit(
        [
            LedgerDocument(
                doc_id=doc_id,
                doc_hash=doc_hash,
                carried_hash=CARRIED_HASH,
                num_chunks=1,
                chunk_hashes=bytes.fromhex(doc_hash),
            )
            for doc_id, doc_hash in zip(*columns, strict=True)
        ],
        run=2,
    )


def base_seconds(folder: Path, num_documents: int) -> float:
    """Return the process time of reading and hashing so many documents."""
    write_corpus(folder, num_documents=NUM_READ)
    read_and_hash(folder, ())
    clock = Clock()
    clock.start()
    read_and_hash(folder, ())
    clock.stop()
    return clock.seconds * num_documents / NUM_READ


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("num_documents", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the ledger is written; made, removed")
    parser.add_argument("--keep", action="store_true", help="leave the ledger, or use the one left")
    options = parser.parse_args()
    count = options.num_documents
    changed = frozenset(range(0, count, max(1, count // 1000)))
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        path = (options.folder or Path(temporary)) / f"bench-{count}.ledger"
        base = base_seconds(Path(temporary) / "corpus", count)
        print(f"{'read and hash':28} {base:8.1f} s")
        if not path.exists():
            fill(path, count)
        size = path.stat().st_size
        print(f"{'ledger':28} {size / 1e9:8.2f} GB, {size / count:.0f} bytes a document")
        nights: list[tuple[str, Callable[[], Iterator[Numbered]]]] = [
            ("unchanged", lambda: corpus(count)),
            ("1,000 scattered changes", lambda: corpus(count, edited=changed)),
            ("a row put in front", lambda: corpus(count, edited=changed, front=1)),
            ("the same again", lambda: corpus(count, edited=changed, front=1)),
        ]
        for name, parts in nights:
            seconds, num_written = night(path, parts())
            print(
                f"{name:28} {seconds:8.1f} s  {seconds / count * 1e6:6.2f} us/document"
                f" {seconds / base:6.3f} of reading and hashing  {num_written:,} written,"
                f" peak {peak_mb():,.0f} MB",
                flush=True,
            )
        if not options.keep:
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()


if __name__ == "__main__":
    main()
