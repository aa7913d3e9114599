"""A corpus none of whose files changed: recognising them, against reading and hashing their rows.

    python tests/benchmarks/bench_known_files.py [--documents 200000]

Documents of 1 KB. The part of corpus and ledger alone, without Milvus and a program's start, in
process time.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "benchmarks")]

from bench_unchanged import read_and_hash, write_corpus  # noqa: E402

from embed_index.pipeline.corpus.parquet import ParquetSource  # noqa: E402
from embed_index.pipeline.ledger.entries import LedgerDocument  # noqa: E402
from embed_index.pipeline.ledger.ledger import Ledger  # noqa: E402
from embed_index.pipeline.stages.comparison import CorpusPass  # noqa: E402
from embed_index.pipeline.stages.file_memory import FileMemory  # noqa: E402
from embed_index.pipeline.stages.tally import RunTally  # noqa: E402


def night(ledger: Ledger, folder: Path) -> tuple[float, int]:
    """Return the process time of a pass, and how many documents it found unchanged."""
    began, tally = time.process_time(), RunTally()
    documents = ledger.documents("known_v1", collection_id="known")
    source = ParquetSource(
        [str(folder)],
        id_column="id",
        text_columns=["text"],
        known_files=ledger.files.by_name(),
    )
    corpus_pass = CorpusPass(documents)
    memory = FileMemory(documents, corpus_pass=corpus_pass, tally=tally, stopping=threading.Event())
    for rows in source.read(memory):
        places = [difference.place for difference in corpus_pass.compare(rows)]
        documents.begin([(rows.doc_ids[place], 1) for place in places])
        committed = [
            LedgerDocument(
                doc_id=rows.doc_ids[place],
                doc_hash=rows.doc_hashes[place],
                carried_hash=rows.carried_hashes[place],
                num_chunks=1,
                chunk_hashes=bytes(16),
            )
            for place in places
        ]
        documents.commit(committed, run=1)
    if any(True for _ in corpus_pass.missing()):
        sys.exit("a document was not met")
    memory.seal(corpus_pass.seal())
    return time.process_time() - began, tally.num_unchanged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--documents", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Ledger(Path(name) / "known.ledger") as ledger:
        corpus = Path(name) / "corpus"
        write_corpus(corpus, num_documents=options.documents)
        night(ledger, corpus)
        for _ in range(3):
            began = time.process_time()
            read_and_hash(corpus, ())
            alone = time.process_time() - began
            seconds, num_unchanged = night(ledger, corpus)
            print(
                f"{num_unchanged:,} documents unchanged in {seconds:.2f} s, read and hashed in"
                f" {alone:.2f} s: {seconds / alone:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
