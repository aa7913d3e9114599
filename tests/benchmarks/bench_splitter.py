"""Measure how fast documents are cut that consist of runs, as tables, logs and PDF files have them.

    python tests/benchmarks/bench_splitter.py TOKENIZER_JSON [--max-tokens 512] [--megabytes 10]

Prints, per text, million tokens and megabytes a second of processor time, how many ids were made
for each one kept, and the longest time for which no other thread ran: a signal waits that long.
Small vocabularies hide costs: take a real model's tokenizer, whose longest token is 128 spaces.
"""

import argparse
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.model.splitter import TextSplitter
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.schemas.records import TokenIds

GOAL_TOKENS = 1e6
GOAL_BYTES = 4e6

RUNS = {
    "spaces": " ",
    "line feeds": "\n",
    "space and line feed": " \n",
    "carriage returns": "\r\n",
    "no-break spaces": "\u00a0",
    "letter a": "a",
    "full stops": ".",
    "full stop, quotes": "." + ")" * 5000,
    "dashes": "-",
    "digits": "7",
    "heading marks": "\n# ",
    "heading, endless number": "\n第" + "1" * 50_000,
    "ideographic stop, quote": "。」\u3000",
    "marks in wrong order": "\u0301\u0323",
    "three code points a character": "\U0001d160",
    "jamo": "\u1112\u1161\u11ab",
    "joined emoji": "👩\u200d",
    "table cells": "<td></td>" + " " * 200 + "\n",
    "spaces, then a word": " " * 100_000 + "word",
    "spaces, then Chinese": " " * 1000 + "汉字" * 150,
    "special tokens": "<|endoftext|>",
    "backticks": "`",
    "fences": "```\n",
    "fences that open": "```a\n",
    "bars": "|",
    "table rows": "| a | b |\n",
    "tables without borders": "a | b\n---|---\n",
    "equals signs": "=",
    "underlined titles": "a\n===\n",
    "code of reStructuredText": "a::\n\n  b\n",
    "manual page": ".TP\n.B a\n",
    "list items": "- a\n",
}


class CountingTokenizer:
    """Counts the ids that a tokenizer makes."""

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        self._tokenizer = tokenizer
        self.end_token_id = tokenizer.end_token_id
        self.num_ids = 0

    def encode(self, text: str) -> TokenIds:
        ids = self._tokenizer.encode(text)
        self.num_ids += ids.size
        return ids

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return self._tokenizer.count(texts)

    def encode_all(self, texts: Sequence[str]) -> list[TokenIds]:
        return [self.encode(text) for text in texts]

    def token_byte_lengths(self, ids: TokenIds) -> TokenIds:
        return self._tokenizer.token_byte_lengths(ids)


def texts(num_bytes: int) -> Iterator[tuple[str, str]]:
    for name, run in RUNS.items():
        yield name, run * (num_bytes // len(run.encode()))
    drawn = random.Random(0)
    yield "random letters", "".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=num_bytes))
    ideographs = [chr(code) for code in range(0x4E00, 0x9FA5)]
    yield "random Chinese", "".join(drawn.choices(ideographs, k=num_bytes // 3))
    words = ("the", "pump", "of", "a", "second", "boiler", "was", "replaced.", "It", "runs\n")
    yield "words, for comparison", " ".join(drawn.choices(words, k=num_bytes // 5))


@contextmanager
def watching() -> Iterator[Callable[[], float]]:
    """Give the longest time, in seconds, for which a second thread could not run."""
    longest, is_over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal longest
        before = time.perf_counter()
        while not is_over.wait(0.002):
            now = time.perf_counter()
            longest, before = max(longest, now - before), now

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: longest
    finally:
        is_over.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "tokenizer", type=Path, nargs="?", default=Path(".cache/sample-model/tokenizer.json")
    )
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--megabytes", type=float, default=10.0)
    options = parser.parse_args()
    tokenizer = ModelTokenizer.of(options.tokenizer.read_text(encoding="utf-8"))
    tokenizer.encode("")
    print(f"{tokenizer.engine}, chunks of {options.max_tokens} tokens")
    print(f"{'text':30} {'M tokens/s':>10} {'MB/s':>7} {'ids/kept':>8} {'still ms':>8}  goal")
    all_reached = True
    for name, text in texts(int(options.megabytes * 1e6)):
        counting = CountingTokenizer(tokenizer)
        splitter = TextSplitter(counting, max_tokens=options.max_tokens)
        with watching() as longest_stillness:
            start = time.process_time()
            kept = sum(span.token_ids.size - 1 for span in splitter.split(text))
            seconds = time.process_time() - start
        tokens, bytes_ = kept / seconds, len(text.encode()) / seconds
        reached = tokens >= GOAL_TOKENS or bytes_ >= GOAL_BYTES
        all_reached &= reached
        print(
            f"{name:30} {tokens / 1e6:10.2f} {bytes_ / 1e6:7.1f} {counting.num_ids / kept:8.2f}"
            f" {longest_stillness() * 1e3:8.0f}  {'reached' if reached else 'missed'}",
            flush=True,
        )
    sys.exit(0 if all_reached else 1)


if __name__ == "__main__":
    main()
