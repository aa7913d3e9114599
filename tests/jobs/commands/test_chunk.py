"""What a document becomes, on paper: chunks, offsets, tokens and reasons."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from embed_index.jobs.main import cli

TEXT = "# One\n\n" + "The pump runs on. " * 30 + "\n\n# Two\n\n" + "It was replaced. " * 30


def chunk(model: Path, state: Path, *arguments: str, expect: int = 0) -> Result:
    flags = ("--model", str(model), "--max-tokens", "200", "--state-dir", str(state))
    done = CliRunner().invoke(cli, ["chunk", *arguments, *flags])
    assert done.exit_code == expect, done.output
    return done


def test_a_text_file_is_cut_as_a_run_would_cut_it(sample_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "manual.md"
    file.write_bytes(TEXT.encode())
    found = json.loads(chunk(sample_model, tmp_path, str(file), "--format", "json").stdout)
    chunks = found["chunks"]

    assert "".join(x["text"] for x in chunks) == TEXT
    assert [TEXT[x["char_start"] : x["char_end"]] for x in chunks] == [x["text"] for x in chunks]
    assert max(x["num_tokens"] for x in chunks) <= found["max_tokens"] == 200
    assert {"heading", "sentence"} >= {x["boundary"] for x in chunks[:-1]}


def test_the_page_says_where_and_why(sample_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "manual.1.gz"
    file.write_bytes(gzip.compress(TEXT.encode()))
    page = chunk(sample_model, tmp_path, str(file)).stdout

    assert "── chunk 1 of " in page
    assert ": characters 0 to " in page
    assert page.rstrip().endswith("── ends with the text")


def test_a_document_of_the_corpus_is_found_by_its_id(sample_model: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["d1", "d2"], "text": ["Another text.", TEXT]}), corpus)
    arguments = ("--id", "d2", "--input", str(corpus), "--format", "json")
    found = json.loads(chunk(sample_model, tmp_path, *arguments).stdout)

    assert "".join(x["text"] for x in found["chunks"]) == TEXT


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "either a FILE or an --id"),
        (("absent.md",), "cannot be read as UTF-8 text"),
        (("--id", "d9", "--input", "{corpus}"), "no usable document 'd9'"),
    ],
)
def test_what_is_not_there_is_refused(
    sample_model: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    corpus = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["d1"], "text": ["A text."]}), corpus)
    given = (x.format(corpus=corpus) for x in arguments)

    assert said in chunk(sample_model, tmp_path, *given, expect=2).output
