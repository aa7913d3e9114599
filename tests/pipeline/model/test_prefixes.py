"""What stands before a chunk: the headings above it, and what its document is about."""

import time
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embed_index.pipeline.model.heading_path import HeadingPaths
from embed_index.pipeline.model.splitter import TextSplitter
from embed_index.pipeline.model.tokenizer import ModelTokenizer, instruction_prompt
from embed_index.schemas.records import about_of

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

MARKDOWN = """\
# Pumps

Text.

## Cleaning ##

```sh
# no heading
```

### The   filter

Here.

## Repair

There.
"""
RST = """\
=====
Pumps
=====

Cleaning
--------

Here.

Filter
~~~~~~

There.

Repair
------

End.
"""


def path(text: str, at: str) -> tuple[str, ...]:
    return HeadingPaths(text).at(text.index(at))


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        (MARKDOWN, "# Pumps", ()),
        (MARKDOWN, "Text.", ("Pumps",)),
        (MARKDOWN, "## Cleaning", ("Pumps",)),
        (MARKDOWN, "# no heading", ("Pumps", "Cleaning")),
        (MARKDOWN, "Here.", ("Pumps", "Cleaning", "The filter")),
        (MARKDOWN, "## Repair", ("Pumps",)),
        (MARKDOWN, "\n## Repair", ("Pumps",)),
        (MARKDOWN, "There.", ("Pumps", "Repair")),
        (MARKDOWN.replace("\n", "\r\n"), "There.", ("Pumps", "Repair")),
        (RST, "Here.", ("Pumps", "Cleaning")),
        (RST, "There.", ("Pumps", "Cleaning", "Filter")),
        (RST, "Repair", ("Pumps",)),
        (RST, "End.", ("Pumps", "Repair")),
        ("= Pumps\n\n== Cleaning\n\nHere.", "Here.", ("Pumps", "Cleaning")),
        ("<h1 id='a'>Pumps</h1>\n<h2>A <b>fine</b> one</h2>\nx", "x", ("Pumps", "A fine one")),
        ("\\chapter{Pumps}\n\\section*{Use}\nHere.", "Here.", ("Pumps", "Use")),
        ('.SH "NAME"\n.SS Options\nHere.', "Here.", ("NAME", "Options")),
        ("Part One\n\nx\n\nChapter 2\n\nHere.", "Here.", ("Part One", "Chapter 2")),
        ("第一章 水泵\n\n第二节 清洗\n\n文", "文", ("第一章 水泵", "第二节 清洗")),
        ("## Deep\n\nx\n\n# High\n\nHere.", "Here.", ("High",)),
        ("A line.\n    # indented\n\nHere.", "Here.", ()),
        ("#hashtag\n\nHere.", "Here.", ()),
        ("", "", ()),
    ],
)
def test_the_headings_above_a_place(text: str, at: str, expected: tuple[str, ...]) -> None:
    assert path(text, at) == expected


@relaxed
@given(text=st.text(st.sampled_from("ab#= -\n`~|"), max_size=600), order=st.permutations(range(9)))
def test_the_order_in_which_places_are_asked_for_is_no_matter(text: str, order: list[int]) -> None:
    places = [len(text) * n // 9 for n in range(9)]
    asked = HeadingPaths(text)

    assert {n: asked.at(places[n]) for n in order} == {
        n: HeadingPaths(text).at(places[n]) for n in order
    }


@pytest.mark.parametrize(
    "run", ["## a\n", "# a\n## b\n", "\n", "a\n=\n", "====\n", "<h1>", "```\n"]
)
def test_time_is_linear_in_the_text(run: str) -> None:
    def seconds(text: str) -> float:
        began = time.process_time()
        headings = HeadingPaths(text)
        for place in range(0, len(text), 500):
            headings.at(place)
        return time.process_time() - began

    small, large = run * (100_000 // len(run)), run * (800_000 // len(run))
    seconds(small)
    assert seconds(large) < 40 * max(seconds(small), 0.01)


@relaxed
@given(
    text=st.lists(
        st.sampled_from(["# Eins\n", "## Zwei é\n\n", "Some words. ", "汉字。", "\n\n", "x" * 30]),
        max_size=60,
    ).map("".join),
    about=st.text(st.characters(exclude_categories=["Cs"]), max_size=120),
    max_tokens=st.integers(40, 90),
    overlap=st.integers(0, 9),
)
def test_chunks_are_the_texts_own_and_the_prefix_counts(
    tokenizer: ModelTokenizer, text: str, about: str, max_tokens: int, overlap: int
) -> None:
    prompt = instruction_prompt("find")
    splitter = TextSplitter(
        tokenizer, max_tokens=max_tokens, prompt=prompt, prefix_headings=True,
        overlap_tokens=overlap,
    )  # fmt: skip
    spans = list(splitter.split(text, about=about))
    (together,) = splitter.split_all([text], about=[about])
    lengths, _ = splitter.chunk_lengths([text], about=[about])
    places = [(span.char_start, span.char_end) for span in spans]

    end = 0
    for begin, until in places:
        assert begin <= end < until
        end = until
    assert end == len(text)
    assert overlap or all(one[1] == other[0] for one, other in pairwise(places))
    for span in spans:
        seen = prompt + span.prefix + text[span.char_start : span.char_end]
        assert span.token_ids.tolist() == tokenizer.encode_for_model(seen).tolist()
        assert span.token_ids.size <= max_tokens
    images = [(x.char_start, x.char_end, x.prefix, x.token_ids.tolist()) for x in spans]
    assert images == [(x.char_start, x.char_end, x.prefix, x.token_ids.tolist()) for x in together]
    assert lengths.tolist() == [span.token_ids.size for span in spans]
    again = splitter.restore(text, places, about=about)
    assert [(x.prefix, x.token_ids.tolist()) for x in again] == [x[2:] for x in images]


def test_what_a_document_is_about_stands_above_its_headings(tokenizer: ModelTokenizer) -> None:
    text = MARKDOWN.replace("There.", "The pump runs on. " * 40)
    splitter = TextSplitter(tokenizer, max_tokens=100, prefix_headings=True)
    about = about_of(("The manual\nof pumps", None, "", 2026))

    spans = list(splitter.split(text, about=about))

    assert spans[0].prefix == "The manual of pumps\n2026\n\n"
    assert spans[-1].prefix == "The manual of pumps\n2026\nPumps > Repair\n\n"
    (alone,) = list(splitter.split("Text.", about=""))
    assert alone.prefix == ""


def test_too_much_is_cut_the_columns_behind_and_the_headings_before(
    tokenizer: ModelTokenizer,
) -> None:
    text = "# " + "Outer " * 15 + "\n\n## Inner\n\n" + "The pump runs on. " * 100
    splitter = TextSplitter(tokenizer, max_tokens=80, prefix_headings=True)

    *_, last = splitter.split(text, about="é" + "Many words " * 50)

    about, headings, *_ = last.prefix.split("\n")
    assert about.startswith("éMany words")
    assert tokenizer.encode(about).size <= (79 - 16) // 4
    assert headings == "Inner"
    assert last.token_ids.size <= 80
