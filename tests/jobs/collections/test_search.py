"""What is searched for, and how hits are written on a terminal."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from embed_index.jobs.collections.text import one_line
from embed_index.jobs.main import cli


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "the query is empty"),
        (" \n\t\u3000", "the query is empty"),
        ("caf\udce9", "the query is not UTF-8"),
    ],
)
def test_a_query_that_says_nothing_is_refused(tmp_path: Path, query: str, message: str) -> None:
    uri = str(tmp_path / "store.db")
    done = CliRunner().invoke(cli, ["search", "articles", query, "--milvus-uri", uri])

    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {message}\n")


@pytest.mark.parametrize("collection", ["", "caf\udce9", "a b"])
@pytest.mark.parametrize("command", [("search", "x"), ("describe",)])
def test_a_name_that_no_collection_has_is_no_outage(
    tmp_path: Path, command: tuple[str, ...], collection: str
) -> None:
    name, *more = command
    uri = str(tmp_path / "store.db")
    done = CliRunner().invoke(cli, [name, collection, *more, "--milvus-uri", uri])

    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: there is no collection {collection!r} of embed-index")


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",  # Persian, with a zero-width non-joiner
        "क्\u200dष",  # Hindi, with a zero-width joiner
        "👩\u200d💻 ❤\ufe0f 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "שלום\u200f!",
        "Donau\u00addampf",
    ],
)
def test_characters_that_belong_to_a_word_stay(text: str) -> None:
    assert one_line(text) == text


@pytest.mark.parametrize(
    "obeyed",
    [*"\x1b\x00\x07\x08\x7f\x9b\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "\udcff"],
)
def test_what_a_terminal_obeys_is_replaced(obeyed: str) -> None:
    assert one_line(f"a{obeyed}b") == "a\ufffdb"


@pytest.mark.parametrize("separator", ["\n", "\r", "\t", "\x85", "\u2028", "\u2029", "\u00a0"])
def test_line_ends_become_spaces(separator: str) -> None:
    assert one_line(f"a{separator}b") == "a b"
