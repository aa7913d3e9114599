"""Peak memory of `embed-index run` over a small and a ten times larger corpus.

    python tests/benchmarks/bench_memory.py [--small-mb 40] [--large-mb 400] [--max-tokens 1024]
    python tests/benchmarks/bench_memory.py --document-mb 100 --model MODEL

Both corpora hold one document of 20 MB; or there is one document without line breaks, and nothing
else. Take a MODEL that `qwen_tokenizer.py` wrote: a real vocabulary takes memory. Vectors come from
a server that answers at once and go to a real Milvus server, so that only our own process is
measured (VmHWM of its status file).
"""

import argparse
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from milvus_server import MilvusServer  # noqa: E402

LARGE_DOCUMENT_BYTES = 20_000_000


def make_words(rng: random.Random, count: int) -> list[str]:
    syllables = [a + b for a in "bcdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "en", "ar")]
    return ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(count)]


def make_text(rng: random.Random, words: list[str], num_bytes: int) -> str:
    parts: list[str] = []
    size = 0
    while size < num_bytes:
        sentence = " ".join(rng.choices(words, k=rng.randint(5, 25))).capitalize() + ". "
        parts.append(sentence + ("\n\n" if rng.random() < 0.1 else ""))
        size += len(parts[-1])
    return "".join(parts)[:num_bytes]


def write_corpus(folder: Path, *, num_megabytes: int) -> None:
    """Write documents of 4 KB to 400 KB in files of 20 MB, and one document of 20 MB."""
    folder.mkdir()
    rng = random.Random(num_megabytes)
    words = make_words(rng, 20_000)
    left = num_megabytes * 1_000_000 - LARGE_DOCUMENT_BYTES
    number = 0
    while left > 0:
        ids, texts, size = [], [], 0
        while size < min(left, 20_000_000):
            length = int(4_000 * 100 ** rng.random())
            ids.append(f"document-{number}")
            texts.append(make_text(rng, words, length))
            number += 1
            size += length
        left -= size
        table = pa.table({"id": ids, "text": texts})
        pq.write_table(table, folder / f"part-{number:06}.parquet", compression="zstd")
    table = pa.table({"id": ["large"], "text": [make_text(rng, words, LARGE_DOCUMENT_BYTES)]})
    pq.write_table(table, folder / "part-large.parquet", compression="zstd")


def write_document(folder: Path, *, num_megabytes: int) -> None:
    """Write one document in one line."""
    folder.mkdir()
    rng = random.Random(num_megabytes)
    text = make_text(rng, make_words(rng, 20_000), num_megabytes * 1_000_000).replace("\n", " ")
    pq.write_table(pa.table({"id": ["large"], "text": [text]}), folder / "large.parquet")


def peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def run(corpus: Path, *, collection: str, environment: dict[str, str], flags: list[str]) -> int:
    command = [sys.executable, "-m", "embed_index.jobs.main", "run", "--input", str(corpus)]
    command += ["--collection", collection, *flags]
    process = subprocess.Popen(command, env=environment, cwd=corpus.parent)
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_bytes(process.pid))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"the run failed with exit code {process.returncode}")
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--small-mb", type=int, default=40)
    parser.add_argument("--large-mb", type=int, default=400)
    parser.add_argument("--document-mb", type=int)
    parser.add_argument("--max-tokens", default="1024")
    parser.add_argument("--dimension", default="64")
    parser.add_argument("--model", default=str(ROOT / ".cache" / "sample-model"))
    options = parser.parse_args()
    key = secrets.token_urlsafe(24)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("instant_server.py")), str(port), key],
        stdout=subprocess.PIPE,
    )
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        sizes = {"small": options.small_mb, "large": options.large_mb}
        if options.document_mb:
            sizes = {"document": options.document_mb}
        for corpus, size in sizes.items():
            write = write_document if options.document_mb else write_corpus
            write(scratch / corpus, num_megabytes=size)
        with MilvusServer(scratch / "milvus") as milvus:
            environment = os.environ | {
                "EMBEDDING_API_BASE": f"http://127.0.0.1:{port}",
                "EMBEDDING_API_KEY": key,
                "MILVUS_URI": milvus.uri,
            }
            flags = ["--model", options.model, "--dimension", options.dimension]
            flags += ["--max-tokens", options.max_tokens]
            peaks = {
                corpus: run(
                    scratch / corpus, collection=corpus, environment=environment, flags=flags
                )
                for corpus in sizes
            }
    server.kill()
    for corpus, peak in peaks.items():
        print(f"{corpus}: {sizes[corpus]} MB of text, peak {peak / 1e6:,.0f} MB")
    if not options.document_mb:
        print(f"ratio large to small: {peaks['large'] / peaks['small']:.3f}")


if __name__ == "__main__":
    main()
