"""Fences, tables and code that fit into a chunk are not parted."""

import pytest

from embed_index.pipeline.model.splitter import TextSplitter
from embed_index.pipeline.model.tokenizer import ModelTokenizer

PROSE = "The pump of the boiler was replaced by a newer one. "
CODE = "".join(f"print({number})\n\n" for number in range(9))
ROWS = "".join(f"| {number} | the pump |\n" for number in range(8))
BLOCKS = {
    "fence": f"```python\n{CODE}```\n",
    "fence of tildes": f"~~~\n{CODE}~~~\n",
    "fence with marks in it": f"````\n```\n{CODE}```\n````\n",
    "fence in a list": "- ```sh\n  echo 1\n\n  echo 2\n\n  echo 3\n  ```\n",
    "table": f"| n | part |\n|---|---|\n{ROWS}",
    "table without borders": "n | part\n---|---\n" + "".join(f"{x} | pump\n" for x in range(9)),
    "grid": "+---+---+\n" + "| 1 | 2 |\n+---+---+\n" * 7,
    "simple table": "=== ===\n1   2\n=== ===\n" + "3   4\n" * 9 + "=== ===\n",
    "directive": ".. code-block:: python\n\n" + "   print(1)\n\n" * 7,
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())
def test_a_block_that_fits_is_in_one_chunk(
    tokenizer: ModelTokenizer, block: str, line_end: str
) -> None:
    block = block.replace("\n", line_end)
    max_tokens = tokenizer.encode(block).size + 30
    splitter = TextSplitter(tokenizer, max_tokens=max_tokens)
    for num_sentences in range(1, 24):
        before = PROSE * num_sentences + line_end * 2
        text = before + block + line_end + PROSE * 30
        spans = list(splitter.split(text))

        assert "".join(text[x.char_start : x.char_end] for x in spans) == text
        inner = range(len(before) + 1, len(before) + len(block.rstrip()))
        assert not [x.char_end for x in spans if x.char_end in inner]


def test_a_block_that_does_not_fit_is_parted_between_lines(tokenizer: ModelTokenizer) -> None:
    text = f"```python\n{CODE * 20}```\n"

    for span in list(TextSplitter(tokenizer, max_tokens=80).split(text))[:-1]:
        assert text[: span.char_end].endswith("\n\n")


def test_a_fence_that_is_never_closed_parts_nothing_but_itself(tokenizer: ModelTokenizer) -> None:
    text = "```\n" + f"{PROSE}\n\n" * 40
    spans = list(TextSplitter(tokenizer, max_tokens=80).split(text))

    assert {span.boundary for span in spans} == {"blank_line", "end"}


def test_a_heading_goes_with_the_block_below_it(tokenizer: ModelTokenizer) -> None:
    block = "\n## Parts\n\n" + BLOCKS["fence"]
    text = PROSE * 9 + "\n" + block + PROSE * 9
    splitter = TextSplitter(tokenizer, max_tokens=tokenizer.encode(block).size + 20)

    assert any(text[x.char_start :].startswith("## Parts\n\n```") for x in splitter.split(text))
