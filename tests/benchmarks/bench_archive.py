"""Seconds and peak memory of `embed-index import` and `export`, over collections of two sizes.

    python tests/benchmarks/bench_archive.py [--rows 100000 1000000] [--width 64] [--dimension 32]

An archive of made-up rows is written first, four chunks a document, and imported into a real Milvus
server at `--dimension`; the collection is exported again. Both are commands in processes of their
own, whose peak is VmHWM of their status file. No embedding server is anywhere.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from bench_memory import peak_bytes  # noqa: E402
from milvus_fixtures import make_contract  # noqa: E402
from milvus_server import MilvusServer  # noqa: E402

from embed_index.pipeline.archive.writing import ArchiveWriter  # noqa: E402
from embed_index.pipeline.ledger.entries import LedgerDocument  # noqa: E402
from embed_index.pipeline.milvus.blocks import RowBlock  # noqa: E402
from embed_index.schemas.columns import CarriedColumn  # noqa: E402
from embed_index.schemas.ids import carried_hash, chunk_id, text_hash  # noqa: E402

CHUNKS = 4
CARRIED = (CarriedColumn(name="topic", type="text"),)
TEXT = "Before the pump is opened, release the pressure and close both valves. " * 4
DOCUMENTS_PER_BLOCK = 1000


def doc_id(number: int) -> str:
    return f"document-{number}"


def blocks(num_documents: int, width: int) -> Iterator[RowBlock]:
    for first in range(0, num_documents, DOCUMENTS_PER_BLOCK):
        numbers = range(first, min(first + DOCUMENTS_PER_BLOCK, num_documents))
        rows = [(number, index) for number in numbers for index in range(CHUNKS)]
        drawn = np.random.default_rng(first).standard_normal((len(rows), width), dtype=np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        hashes = {number: text_hash(doc_id(number)) for number in numbers}
        yield RowBlock(
            fields={
                "chunk_id": [chunk_id(doc_id(number), index) for number, index in rows],
                "doc_id": [doc_id(number) for number, _ in rows],
                "chunk_index": [index for _, index in rows],
                "num_chunks": [CHUNKS] * len(rows),
                "char_start": [index * len(TEXT) for _, index in rows],
                "char_end": [(index + 1) * len(TEXT) for _, index in rows],
                "num_tokens": [64] * len(rows),
                "doc_hash": [hashes[number] for number, _ in rows],
                "text": [f"{number}.{index} {TEXT}" for number, index in rows],
                "text_complete": [True] * len(rows),
                "source": [f"corpus/part-0.parquet#0:{number}" for number, _ in rows],
                "topic": [f"topic {number % 50}" for number, _ in rows],
            },
            vectors=drawn,
        )


def documents(num_documents: int) -> Iterator[LedgerDocument]:
    for number in range(num_documents):
        yield LedgerDocument(
            doc_id=doc_id(number),
            doc_hash=text_hash(doc_id(number)),
            carried_hash=carried_hash((f"topic {number % 50}",)),
            num_chunks=CHUNKS,
            chunk_hashes=bytes(16 * CHUNKS),
        )


def write_archive(folder: Path, *, num_rows: int, width: int) -> None:
    contract = make_contract(dimension=width, carried=("topic",))
    with ArchiveWriter(folder, contract=contract, carried=CARRIED) as writer:
        for block in blocks(num_rows // CHUNKS, width):
            writer.write_chunks(block)
        writer.write_documents(documents(num_rows // CHUNKS))
        writer.write_letters([])
        writer.finish(collection="made_up", version="made_up_v1", made_by="bench_archive")


def measure(name: str, *arguments: str, num_rows: int, uri: str, state: Path) -> dict[str, Any]:
    """Give a command; print its seconds and its peak, and return what it says."""
    command = [sys.executable, "-m", "embed_index.jobs.main", name, *arguments, "--json"]
    command += ["--milvus-uri", uri, "--state-dir", str(state)]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_bytes(process.pid))
        time.sleep(0.05)
    seconds = time.monotonic() - began
    if process.returncode:
        sys.exit(f"{name} failed with exit code {process.returncode} after {seconds:.0f} s")
    print(
        f"{name} {num_rows:,} rows: {seconds:.1f} s, {num_rows / seconds:,.0f} rows/s,"
        f" peak {peak / 1e6:,.0f} MB",
        flush=True,
    )
    assert process.stdout is not None
    said: dict[str, Any] = json.loads(process.stdout.read())
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--dimension", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        scratch = Path(name)
        with MilvusServer(scratch / "milvus") as milvus:
            for num_rows in options.rows:
                archive, again = scratch / f"archive-{num_rows}", scratch / f"again-{num_rows}"
                began = time.monotonic()
                write_archive(archive, num_rows=num_rows, width=options.width)
                size = sum(file.stat().st_size for file in archive.iterdir()) / 1e6
                print(
                    f"made up {num_rows:,} rows: {time.monotonic() - began:.1f} s, {size:,.0f} MB",
                    flush=True,
                )
                where = {"num_rows": num_rows, "uri": milvus.uri, "state": scratch / "state"}
                collection = f"c{num_rows}"
                flags = ["--collection", collection, "--dimension", str(options.dimension)]
                measure("import", str(archive), *flags, **where)
                said = measure("export", collection, "--to", str(again), **where)
                assert said["num_chunks"] == num_rows


if __name__ == "__main__":
    main()
