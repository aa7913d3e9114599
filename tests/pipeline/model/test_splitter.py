import re
import time
import timeit
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embed_index.pipeline.model.boundaries import best_cut, line_feeds
from embed_index.pipeline.model.splitter import TextSplitter
from embed_index.pipeline.model.tokenizer import ModelTokenizer, instruction_prompt
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import ChunkSpan, TokenIds

# The splitter is built per example and the tokenizer has no state that examples could share.
relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)
dense_texts = st.text(
    st.sampled_from("ae\u0301\u0323 .\n\r\t汉。字あ\u1112\u1161\u11ab\U0001d160👩\u200d🏽🇨🇭ا؟x1"),
    max_size=600,
)

RUNS = (
    *" \t\n\r\u00a0\u3000\u2028\x00a7.-#汉。'」",
    *("\u0301", "\u200d", "\ufe0f", "\u1112", "\U0001d160", "\U0001f3fd", "\U0001f1e8"),
    *(
        " \n",
        "\r\n",
        "\t \r\n",
        "\n\n ",
        ". ",
        ".'",
        ".\n",
        "。」",
        "。 ",
        "a ",
        "a\n",
        "\n# ",
        "\n第1",
    ),
    *("\u0301\u0323", "e\u0301\u0323", "\u1112\u1161\u11ab", "👩\u200d", "e\U0001d160", "<|", "ا؟"),
    *(
        " " * 500 + "汉字" * 100,
        "." + ")" * 700,
        "\n第" + "1" * 900,
        "。" + " " * 900,
        "\n" + " " * 900,
    ),
    *("```\n", "```a\n", "~~~\n", "`", "| a | b |\n", "|", "a | b\n---|---\n", "=", "\n====\n"),
    *("== ==\n", "a::\n", ".TP\n", "- a\n", "a:\n\n", "> ", "\u0915\u094d", ".. a::\n\n  b\n"),
)
"""What a text may repeat without end: characters of each class, alternating ones, runs of runs."""

run_texts = st.lists(st.tuples(st.sampled_from(RUNS), st.integers(1, 40)), max_size=8).map(
    lambda runs: "".join(run * num_times for run, num_times in runs)[:3000]
)
boundary_texts = st.text(st.sampled_from("a #.'\"」。？\n\n\r\t 第1章Part"), max_size=200)


class CountingTokenizer:
    """Counts the characters that it is given."""

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        self._tokenizer = tokenizer
        self.end_token_id = tokenizer.end_token_id
        self.num_chars = 0
        self.batches: list[list[str]] = []

    def encode(self, text: str) -> TokenIds:
        self.num_chars += len(text)
        return self._tokenizer.encode(text)

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return self._tokenizer.count(texts)

    def encode_all(self, texts: Sequence[str]) -> list[TokenIds]:
        self.batches.append(list(texts))
        return self._tokenizer.encode_all(texts)

    def token_byte_lengths(self, ids: TokenIds) -> TokenIds:
        return self._tokenizer.token_byte_lengths(ids)


def split(tokenizer: ModelTokenizer, text: str, **options: object) -> list[ChunkSpan]:
    return list(TextSplitter(tokenizer, **options).split(text))  # type: ignore[arg-type]


def joined(text: str, spans: list[ChunkSpan]) -> str:
    return "".join(text[span.char_start : span.char_end] for span in spans)


@relaxed
@given(text=texts | dense_texts | run_texts, max_tokens=st.integers(17, 80))
def test_chunks_concatenate_to_the_text_and_none_exceeds_the_limit(
    tokenizer: ModelTokenizer, text: str, max_tokens: int
) -> None:
    spans = split(tokenizer, text, max_tokens=max_tokens)

    assert joined(text, spans) == text
    assert all(0 < span.token_ids.size <= max_tokens for span in spans)
    assert all(span.char_start < span.char_end for span in spans)


@pytest.mark.parametrize("text", ["One short text.", "word " * 200])
def test_a_text_that_fits_is_encoded_once(tokenizer: ModelTokenizer, text: str) -> None:
    counting = CountingTokenizer(tokenizer)

    (span,) = TextSplitter(counting, max_tokens=1024).split(text)

    assert (span.char_end, counting.num_chars) == (len(text), len(text))


@relaxed
@given(
    corpus=st.lists(texts | dense_texts | run_texts, max_size=6),
    max_tokens=st.integers(60, 160),
    overlap=st.integers(0, 9),
)
def test_lengths_are_those_of_the_chunks_that_would_be_cut(
    tokenizer: ModelTokenizer, corpus: list[str], max_tokens: int, overlap: int
) -> None:
    splitter = TextSplitter(
        tokenizer, max_tokens=max_tokens, overlap_tokens=overlap, prompt=instruction_prompt("find")
    )
    cut = [[span.token_ids.size for span in splitter.split(text)] for text in corpus]

    lengths, num_chunks = splitter.chunk_lengths(corpus)

    assert lengths.tolist() == [size for sizes in cut for size in sizes]
    assert num_chunks.tolist() == [len(sizes) for sizes in cut]


def test_texts_of_one_chunk_are_counted_without_being_cut(tokenizer: ModelTokenizer) -> None:
    counting = CountingTokenizer(tokenizer)
    texts_ = ["One.", "word " * 20]

    lengths, _ = TextSplitter(counting, max_tokens=64).chunk_lengths(texts_)

    assert counting.num_chars == 0
    assert lengths.tolist() == [tokenizer.encode(text).size + 1 for text in texts_]


@given(batch=st.lists(texts | dense_texts | run_texts, max_size=6), max_tokens=st.integers(17, 80))
def test_texts_cut_together_are_cut_as_each_alone(
    tokenizer: ModelTokenizer, batch: list[str], max_tokens: int
) -> None:
    splitter = TextSplitter(tokenizer, max_tokens=max_tokens)

    together = [[_image(span) for span in spans] for spans in splitter.split_all(batch)]

    assert together == [[_image(span) for span in splitter.split(text)] for text in batch]


def _image(span: ChunkSpan) -> tuple[int, int, list[int]]:
    return span.char_start, span.char_end, span.token_ids.tolist()


def test_short_texts_go_to_the_tokenizer_together(tokenizer: ModelTokenizer) -> None:
    counting = CountingTokenizer(tokenizer)
    batch = ["One short text.", "Another.", "word " * 4000, "", "A last one.", "No, this."]

    cut = [list(spans) for spans in TextSplitter(counting, max_tokens=256).split_all(batch)]

    assert [len(spans) > 1 for spans in cut] == [False, False, True, False, False, False]
    assert [len(spans) for spans in cut[3:]] == [0, 1, 1]
    assert counting.batches == [batch[:2], batch[4:]]


@relaxed
@given(text=texts | dense_texts | run_texts, max_tokens=st.integers(96, 160), instruction=texts)
def test_ids_are_what_the_chunk_alone_tokenises_to(
    tokenizer: ModelTokenizer, text: str, max_tokens: int, instruction: str
) -> None:
    prompt = instruction_prompt(instruction[:5])

    for span in split(tokenizer, text, max_tokens=max_tokens, prompt=prompt):
        alone = tokenizer.encode_for_model(prompt + text[span.char_start : span.char_end])
        assert span.token_ids.tolist() == alone.tolist()


@relaxed
@given(
    text=texts | dense_texts | run_texts, max_tokens=st.integers(40, 80), overlap=st.integers(1, 15)
)
def test_overlapping_chunks_advance_and_leave_no_gap(
    tokenizer: ModelTokenizer, text: str, max_tokens: int, overlap: int
) -> None:
    spans = split(tokenizer, text, max_tokens=max_tokens, overlap_tokens=overlap)

    assert all(a.char_start < b.char_start <= a.char_end < b.char_end for a, b in pairwise(spans))
    if spans:
        assert (spans[0].char_start, spans[-1].char_end) == (0, len(text))


@given(
    text=boundary_texts | dense_texts | run_texts | texts, places=st.tuples(*[st.floats(0, 1)] * 2)
)
@settings(max_examples=400, deadline=None)
def test_no_stronger_boundary_is_near_than_the_one_that_was_chosen(
    text: str, places: tuple[float, float]
) -> None:
    start, limit = sorted(int(place * len(text)) for place in places)
    if not start < limit < len(text):
        return
    window, room = line_feeds(text[start:]), limit - start
    cut = best_cut(window, room)

    assert 0 < cut.end <= room
    earliest = max(1, room - int(room * 0.25))

    def are_near(expression: str, end: int = len(text)) -> bool:
        found = re.compile(expression).finditer(window, earliest - 1, end)
        return any(earliest <= match.end() <= room for match in found)

    if cut.boundary not in {"heading", "blank_line"}:
        assert not are_near(r"\n[ \t]*\n(?=[^\n])")
        assert not are_near(r"\n(?=#{1,6} )", room + 9)
    if cut.boundary in {"white_space", "character"}:
        assert not are_near(r"\n(?=[^\n])")


@pytest.mark.parametrize("overlap", [0, 30, 60])
@pytest.mark.parametrize("run", RUNS)
def test_no_run_is_tokenised_over_and_over(
    tokenizer: ModelTokenizer, run: str, overlap: int
) -> None:
    text = run * (16_000 // len(run))
    counting = CountingTokenizer(tokenizer)
    spans = list(TextSplitter(counting, max_tokens=128, overlap_tokens=overlap).split(text))

    assert spans[-1].char_end == len(text)
    assert counting.num_chars < (12 if overlap else 8) * len(text)


@pytest.mark.parametrize("run", RUNS)
def test_the_time_is_linear_in_a_run(tokenizer: ModelTokenizer, run: str) -> None:
    splitter = TextSplitter(tokenizer, max_tokens=2048)

    def seconds(num_chars: int) -> float:
        text = run * (num_chars // len(run))
        # Unlike a plain clock it keeps the collector of garbage, of all tests before, out of it.
        timer = timeit.Timer(lambda: list(splitter.split(text)), timer=time.thread_time)
        return min(timer.repeat(repeat=3, number=1))

    # A quadratic step, such as Python's NFC or a search for the end of a run, takes 16 times.
    assert seconds(120_000) < 10 * max(seconds(30_000), 0.02)


def test_cuts_depend_on_the_text_alone(tokenizer: ModelTokenizer) -> None:
    splitter = TextSplitter(tokenizer, max_tokens=64)
    text = " " * 9000 + "字" * 900 + "a" * 9000
    first = [span.char_end for span in splitter.split(text)]
    list(splitter.split("字" * 500))

    assert [span.char_end for span in splitter.split(text)] == first


def test_overlap_repeats_about_as_many_tokens_as_asked(tokenizer: ModelTokenizer) -> None:
    text = "The pump of the second boiler was replaced by a newer type. " * 60
    spans = split(tokenizer, text, max_tokens=100, overlap_tokens=30)

    for a, b in pairwise(spans):
        repeated = tokenizer.encode(text[b.char_start : a.char_end]).size
        assert 10 <= repeated <= 31


@pytest.mark.parametrize("max_tokens", [64, 512, 32_768])
def test_every_sample_document_is_covered_exactly(
    tokenizer: ModelTokenizer, sample_corpus: Path, max_tokens: int
) -> None:
    splitter = TextSplitter(tokenizer, max_tokens=max_tokens)
    num_documents = 0
    for file in sorted(sample_corpus.glob("*.parquet")):
        for text in filter(None, pq.read_table(file).column("text").to_pylist()):
            spans = list(splitter.split(text))
            assert joined(text, spans) == text
            assert max(span.token_ids.size for span in spans) <= max_tokens
            num_documents += 1
    assert num_documents >= 300


def test_chunks_are_well_filled(tokenizer: ModelTokenizer) -> None:
    text = "The pump of the second boiler was replaced by a newer type. " * 400
    spans = split(tokenizer, text, max_tokens=128)

    assert all(span.token_ids.size > 0.7 * 128 for span in spans[:-1])


def test_text_that_is_not_normalised_fills_its_chunks_too(tokenizer: ModelTokenizer) -> None:
    text = "Cafe\u0301 de\u0301ja\u0300 vu a\u0300 l'e\u0301te\u0301. " * 400
    spans = split(tokenizer, text, max_tokens=128)

    assert all(span.token_ids.size > 0.6 * 128 for span in spans[:-1])


@pytest.mark.parametrize(
    ("separator", "expected_start"),
    [
        ("\n## Heading\n", "## Heading"),
        ("\n\n", "after"),
        (". ", "after"),
        ("。", "after"),
    ],
)
def test_the_strongest_boundary_near_the_limit_wins(
    tokenizer: ModelTokenizer, separator: str, expected_start: str
) -> None:
    before = "word " * 54 + "word"
    text = before + separator + "after " * 200
    first, second = split(tokenizer, text, max_tokens=tokenizer.encode(before).size + 12)[:2]

    assert text[second.char_start :].startswith(expected_start)
    assert first.char_end == second.char_start


def test_a_cut_does_not_part_a_character_from_its_marks(tokenizer: ModelTokenizer) -> None:
    text = "👩‍👩‍👧‍👦" * 60
    spans = split(tokenizer, text, max_tokens=64)

    assert joined(text, spans) == text
    assert all(text[span.char_start] == "👩" for span in spans)


def test_a_window_without_room_for_text_is_refused(tokenizer: ModelTokenizer) -> None:
    prompt = instruction_prompt("Represent this support ticket for retrieval")

    with pytest.raises(ConfigurationError, match="leaves no room"):
        TextSplitter(tokenizer, max_tokens=20, prompt=prompt)


def test_an_overlap_over_half_a_chunk_is_refused(tokenizer: ModelTokenizer) -> None:
    with pytest.raises(ConfigurationError, match="overlap_tokens"):
        TextSplitter(tokenizer, max_tokens=64, overlap_tokens=40)


def test_an_empty_text_has_no_chunks(tokenizer: ModelTokenizer) -> None:
    assert split(tokenizer, "", max_tokens=64) == []
