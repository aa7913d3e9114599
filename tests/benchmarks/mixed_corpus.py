"""A corpus of English, Chinese and code, as large as wanted, no document of which is another's.

English is Python's language reference, code its standard library. Chinese is written anew, of words
that are cut from the sample corpus: tokenizers remember sentences that they saw, and between marks
a Chinese sentence is one word to them.
"""

import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from pydoc_data import topics

import pyarrow as pa
import pyarrow.parquet as pq

_SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample_data" / "corpus"
_IDEOGRAPHS = re.compile(r"[\u4e00-\u9fff]{4,}")
_ROWS_PER_GROUP = 2048
_MAX_PARTS = 22


class MixedTexts:
    """Draws documents of a few parts, each a paragraph or two of prose, or a stretch of code."""

    def __init__(self, *, seed: int) -> None:
        self._random = random.Random(seed)
        folder = Path(sysconfig.get_paths()["stdlib"])
        code = "\n\n".join(file.read_text("utf-8") for file in sorted(folder.glob("*.py")))
        english = "\n\n".join(topics.topics.values())
        self._english = [part for part in re.split(r"\n{2,}", english) if len(part) > 80]
        self._code = [part for part in re.split(r"\n{2,}", code) if len(part) > 80]
        texts = pq.read_table(_SAMPLES / "tickets-zh.parquet")["text"].to_pylist()
        self._chinese = [run for text in texts for run in _IDEOGRAPHS.findall(text)]

    def draw(self) -> str:
        """Return a document of two to some twenty parts."""
        draw = self._random
        parts = [f"{draw.getrandbits(64):x}"]
        for _ in range(draw.randint(2, _MAX_PARTS)):
            kind = draw.random()
            if kind < 0.5:
                parts.append(draw.choice(self._english))
            elif kind < 0.75:
                parts.append("".join(self._sentence() for _ in range(6)))
            else:
                parts.append(draw.choice(self._code))
        return "\n\n".join(parts)

    def _sentence(self) -> str:
        runs = self._random.choices(self._chinese, k=self._random.randint(4, 14))
        words = [run[:2] if self._random.random() < 0.7 else run[-3:] for run in runs]
        middle = len(words) // 2
        return "".join(words[:middle]) + "，" + "".join(words[middle:]) + "。"


def write_mixed(file: Path, *, num_documents: int, seed: int = 1) -> None:
    """Write documents with their ids to one Parquet file."""
    texts = MixedTexts(seed=seed)
    schema = pa.schema({"id": pa.string(), "text": pa.string()})
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for numbers in _groups(num_documents):
            table = {
                "id": [f"document-{number}" for number in numbers],
                "text": [texts.draw() for _ in numbers],
            }
            writer.write_table(pa.table(table, schema=schema))


def _groups(num_documents: int) -> Iterator[range]:
    for start in range(0, num_documents, _ROWS_PER_GROUP):
        yield range(start, min(start + _ROWS_PER_GROUP, num_documents))
