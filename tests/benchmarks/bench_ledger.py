"""Measure what the ledger costs in a run that finds nothing changed.

    python tests/benchmarks/bench_ledger.py [NUM_DOCUMENTS]

Prints the seconds of reading and hashing a Parquet file of 1 KB documents, and those of comparing
them with the ledger, as a share of the former: with the stretches of the last run, with all rows in
another order, and with one change in every stretch.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerDocument
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.ledger.stretches import Stretch
from embed_index.pipeline.stages.comparison import CorpusPass
from embed_index.schemas.ids import text_hash

TEXT_CHARS = 1000
BATCH_ROWS = 2048
CARRIED_HASH = text_hash("")


def write_corpus(path: Path, num_documents: int) -> None:
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz      ", dtype=np.uint8)
    generator = np.random.default_rng(0)
    noise = letters[generator.integers(0, letters.size, 1 << 20)].tobytes().decode()
    schema = pa.schema({"id": pa.string(), "text": pa.string()})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, num_documents, 20_000):
            rows = range(start, min(start + 20_000, num_documents))
            cuts = generator.integers(0, len(noise) - TEXT_CHARS, len(rows)).tolist()
            columns = {
                "id": [text_hash(str(row))[:20] for row in rows],
                "text": [noise[cut : cut + TEXT_CHARS] for cut in cuts],
            }
            writer.write_table(pa.table(columns, schema=schema))


def read_and_hash(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    with pq.ParquetFile(path) as parquet:
        for batch in parquet.iter_batches(BATCH_ROWS, use_threads=False):
            columns: list[list[Any]] = [column.to_pylist() for column in batch.columns]
            ids, texts = columns
            yield ids, [text_hash(text) for text in texts]


def stretch_of(ids: Sequence[str], hashes: Sequence[str]) -> Stretch:
    return Stretch(
        doc_ids=ids,
        doc_hashes=hashes,
        carried_hashes=[CARRIED_HASH] * len(ids),
    )


def compare_all(documents: DocumentLedger, stretches: list[Stretch], *, seal: bool) -> float:
    start = time.perf_counter()
    corpus_pass = CorpusPass(documents)
    for stretch in stretches:
        if corpus_pass.compare(stretch):
            raise SystemExit("the ledger found a difference where there is none")
    if any(True for _ in corpus_pass.missing()):
        raise SystemExit("the ledger misses a document")
    if seal:
        corpus_pass.seal()
    return time.perf_counter() - start


def fill(documents: DocumentLedger, stretches: list[Stretch]) -> float:
    start = time.perf_counter()
    corpus_pass = CorpusPass(documents)
    for stretch in stretches:
        corpus_pass.compare(stretch)
        columns = (stretch.doc_ids, stretch.doc_hashes, stretch.carried_hashes)
        documents.begin([(doc_id, 1) for doc_id in stretch.doc_ids])
        documents.commit(
            [
                LedgerDocument(
                    doc_id=doc_id,
                    doc_hash=doc_hash,
                    carried_hash=carried_hash,
                    num_chunks=1,
                    chunk_hashes=bytes.fromhex(doc_hash),
                )
                for doc_id, doc_hash, carried_hash in zip(*columns, strict=True)
            ],
            run=1,
        )
    corpus_pass.seal()
    return time.perf_counter() - start


def one_changed(stretch: Stretch) -> Stretch:
    return stretch_of(stretch.doc_ids, [text_hash("changed"), *stretch.doc_hashes[1:]])


def change(documents: DocumentLedger, stretches: list[Stretch]) -> float:
    start = time.perf_counter()
    corpus_pass = CorpusPass(documents)
    for stretch in stretches:
        (difference,) = corpus_pass.compare(stretch)
        if difference.change != "changed":
            raise SystemExit("the ledger found something else than the change")
        documents.begin([(difference.entry.doc_id, 1)])
    corpus_pass.seal()
    return time.perf_counter() - start


def main(num_documents: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.parquet"
        write_corpus(corpus, num_documents)
        batches = list(read_and_hash(corpus))
        start = time.perf_counter()
        for _ in read_and_hash(corpus):
            pass
        base = time.perf_counter() - start

        stretches = [stretch_of(*batch) for batch in batches]
        pairs = [pair for ids, hashes in batches for pair in zip(ids, hashes, strict=True)]
        order = np.random.default_rng(1).permutation(len(pairs)).tolist()
        shuffled = [
            stretch_of(*zip(*(pairs[x] for x in order[start : start + BATCH_ROWS]), strict=True))
            for start in range(0, len(order), BATCH_ROWS)
        ]
        del batches, pairs
        path = Path(folder) / "ledger.sqlite"
        with Ledger(path) as ledger:
            documents = ledger.documents("docs_v1", collection_id="bench")
            filling = fill(documents, stretches)
        rows = [("read and hash", base), ("first run: register, begin, commit, seal", filling)]
        with Ledger(path) as ledger:
            documents = ledger.documents("docs_v1", collection_id="bench")
            rows.append(("unchanged", compare_all(documents, stretches, seal=True)))
            rows.append(("shuffled whole", compare_all(documents, shuffled, seal=True)))
        with Ledger(path) as ledger:
            documents = ledger.documents("docs_v1", collection_id="bench")
            rows.append(("the same again", compare_all(documents, shuffled, seal=True)))
            one_each = [one_changed(stretch) for stretch in stretches]
            rows.append(("shuffled back, one changed a stretch", change(documents, one_each)))
            size = path.stat().st_size / num_documents
    for name, seconds in rows:
        micros = seconds / num_documents * 1e6
        print(f"{name:42} {seconds:7.2f} s  {micros:6.2f} us/document  {seconds / base:5.2f} of it")
    print(f"{'ledger file':42} {size:7.0f} bytes/document")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
