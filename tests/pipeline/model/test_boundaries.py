"""Where a chunk ends, and why there: texts of every kind, cut as a reader would."""

import pytest

from embed_index.pipeline.model.boundaries import best_cut, line_feeds
from embed_index.schemas.records import Boundary

SENTENCES = "The pump of the boiler was replaced by a newer one. " * 20
WRAPPED = "the holders of the rights to any of these works grant all of them to\n"
HAN = "系统会在每天夜里读取所有文件并且更新索引"


def cut(before: str, after: str, *, beyond: int = 9) -> tuple[str, Boundary]:
    """Cut a text somewhat behind `before`; return what the next chunk begins with, and why."""
    text = before + after
    found = best_cut(line_feeds(text), len(before) + beyond)
    return text[found.end : found.end + 12], found.boundary


@pytest.mark.parametrize(
    ("before", "after", "begins", "boundary"),
    [
        (SENTENCES, "\n## Two\n\nThe next part begins here.", "## Two", "heading"),
        (SENTENCES, "\n\nTwo\n===\n\nThe next part begins here.", "Two\n===", "heading"),
        (SENTENCES, "\n\n~~~~\nTwo\n~~~~\n\nThe next part begins.", "~~~~\nTwo", "heading"),
        (SENTENCES, "\n.SH OPTIONS\nThe next part begins.", ".SH OPTIONS", "heading"),
        (SENTENCES, "\n第二章 起源\n以下内容", "第二章", "heading"),
        (SENTENCES, "\n.TP\n.B \\-v\nSay more.", ".TP\n.B", "blank_line"),
        (SENTENCES, "\n\nThe next paragraph.", "The next", "blank_line"),
        (SENTENCES, "\n- an item of a list", "- an item", "list_item"),
        (SENTENCES, "\n12. an item of a list", "12. an item", "list_item"),
        (SENTENCES, "And then it went on and on.", "And then", "sentence"),
        ("键" * 200 + "。", "然后继续下去没有停", "然后继续", "sentence"),
        ("क" * 200 + "। ", "यह अगला वाक्य है", "यह अगला", "sentence"),
        ("ب" * 200 + "؟ ", "هذه جملة أخرى", "هذه", "sentence"),
        ("ก" * 200 + " ", "ขขขขขขขขขขขขขขข", "ขขข", "white_space"),
        ("键" * 200 + "，", "然后继续下去没有停", "然后继续", "phrase"),
        ("x" * 200 + " ", "y" * 60, "yyy", "white_space"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_chunk_ends_where_a_reader_would_pause(
    before: str, after: str, begins: str, boundary: Boundary, line_end: str
) -> None:
    begins = begins.replace("\n", line_end)
    found, why = cut(before.replace("\n", line_end), after.replace("\n", line_end), beyond=14)

    assert (found[: len(begins)], why) == (begins, boundary)


@pytest.mark.parametrize(
    "heading",
    ["## Two\n\n", "## Two\n\n### Three\n", "Two\n---\n\n", ".SH TWO\n", ".TP\n.B \\-v\n"],
)
def test_a_heading_goes_with_what_follows_it(heading: str) -> None:
    found, _ = cut(SENTENCES + "\n" + heading, "An_unbroken_row_of_letters", beyond=0)

    assert found.startswith(heading[:6])


def test_what_ends_with_a_colon_goes_with_what_it_announces() -> None:
    found, _ = cut(SENTENCES + "\n\nThese are the parts:\n\n", "- the first part of all", beyond=4)

    assert found == "These are th"


def test_a_sentence_goes_on_over_the_end_of_a_line() -> None:
    before = WRAPPED * 12 + "whom it concerns. "
    found, why = cut(before, f"The holders grant it to all who ask for it by\n{WRAPPED}", beyond=60)

    assert (found, why) == ("The holders ", "sentence")


def test_lines_of_han_that_were_wrapped_are_parted_at_a_mark() -> None:
    found, why = cut((HAN + "\n") * 9 + "并且更新索引，", HAN[:8] + "\n" + HAN, beyond=9)

    assert (found[:4], why) == (HAN[:4], "phrase")


def test_lines_that_are_records_stay_whole() -> None:
    record = "INFO The connection was lost. Retrying after a pause of five seconds in all\n"
    found, why = cut(record * 9, record, beyond=40)

    assert (found, why) == (record[:12], "line")


@pytest.mark.parametrize("abbreviation", ["e.g. ", "Fig. ", "1. ", "J. "])
def test_an_abbreviation_ends_no_sentence(abbreviation: str) -> None:
    before = "x " * 60 + "It ends here. "
    found, _ = cut(before, f"More of it, {abbreviation}Smith and others", beyond=18)

    assert found.startswith("More")


def test_a_number_at_the_end_of_the_line_is_not_parted_from_its_mark() -> None:
    found, _ = cut("键" * 200, "」。" + "键" * 20, beyond=0)

    assert found.startswith("键")
