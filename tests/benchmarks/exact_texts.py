"""Texts that have exactly as many tokens as wanted, all different."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.schemas.records import TokenIds

_NUM_WORDS = 4_000
_ROWS_PER_GROUP = 2_048
_SYLLABLES = tuple(a + b for a in "bcdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "en"))


class ExactTexts:
    """Draws texts of words, whose token counts add up: none reaches across a space."""

    def __init__(self, tokenizer: ModelTokenizer, *, seed: int) -> None:
        self._tokenizer = tokenizer
        self._random = np.random.default_rng(seed)
        words = [" " + "".join(self._random.choice(_SYLLABLES, 3)) for _ in range(_NUM_WORDS)]
        self._words = np.array(words)
        self._counts = np.array([tokenizer.encode(word).size for word in words])
        self._single = next(w for w in (" the", " self", " a") if tokenizer.encode(w).size == 1)

    def draw(self, num_tokens: int) -> str:
        """Return a text that has `num_tokens` tokens with the end token."""
        room = num_tokens - 1
        places = self._random.integers(0, _NUM_WORDS, room)
        sums = np.cumsum(self._counts[places])
        num_words = int(np.searchsorted(sums, room, side="right"))
        rest = room - (int(sums[num_words - 1]) if num_words else 0)
        return "".join(self._words[places[:num_words]].tolist()) + self._single * rest

    def write(self, path: Path, *, num_tokens: int, num_texts: int) -> list[TokenIds]:
        """Write a corpus with a text a document; return what the model will see of each."""
        schema = pa.schema({"id": pa.string(), "text": pa.string()})
        ids: list[TokenIds] = []
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for group in _groups(num_texts):
                texts = [self.draw(num_tokens) for _ in group]
                ids += map(self._tokenizer.encode_for_model, texts)
                names = [f"{num_tokens}-{number}" for number in group]
                writer.write_table(pa.table({"id": names, "text": texts}, schema=schema))
        wrong = {size for size in (x.size for x in ids) if size != num_tokens}
        if wrong:
            raise AssertionError(f"texts of {sorted(wrong)} tokens instead of {num_tokens}")
        return ids


def _groups(num_texts: int) -> Iterator[range]:
    for start in range(0, num_texts, _ROWS_PER_GROUP):
        yield range(start, min(start + _ROWS_PER_GROUP, num_texts))
