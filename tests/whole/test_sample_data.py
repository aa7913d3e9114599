"""What the sample corpus promises to the tests and the examples that read it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import unicodedata
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SAMPLE_DATA = Path(__file__).resolve().parents[2] / "sample_data"
CORPUS = SAMPLE_DATA / "corpus"
FILES = ["broken", "long", "manuals", "mixed", "tickets-en", "tickets-zh"]
COLUMNS = ["id", "title", "text", "product", "severity", "created_at"]

SCRIPTS = {
    "Chinese": re.compile(r"[\u4e00-\u9fff]"),
    "Japanese": re.compile(r"[\u3040-\u30ff]"),
    "Arabic": re.compile(r"[\u0600-\u06ff]"),
    "emoji": re.compile("[\U0001f300-\U0001faff]"),
}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return script("generate_corpus")


def script(name: str) -> ModuleType:
    """Import a script of the sample data."""
    spec = importlib.util.spec_from_file_location(f"sample_{name}", SAMPLE_DATA / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def rows(*names: str) -> list[dict[str, Any]]:
    return [row for name in names for row in pq.read_table(CORPUS / f"{name}.parquet").to_pylist()]


def good_rows() -> list[dict[str, Any]]:
    return [row for row in rows(*FILES) if row["id"] and row["text"] and row["text"].strip()]


def text_of(document_id: str) -> str:
    return str(next(row["text"] for row in rows(*FILES) if row["id"] == document_id))


def test_the_folder_holds_these_files_and_stays_small() -> None:
    paths = sorted(CORPUS.iterdir())

    assert [path.name for path in paths] == [f"{name}.parquet" for name in FILES]
    assert sum(path.stat().st_size for path in paths) < 5_000_000


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_the_same_columns_and_several_row_groups(name: str) -> None:
    file = pq.ParquetFile(CORPUS / f"{name}.parquet")

    assert file.schema_arrow.names == COLUMNS
    assert file.schema_arrow.field("severity").type == pa.int64()
    assert pa.types.is_timestamp(file.schema_arrow.field("created_at").type)
    assert file.num_row_groups >= 3
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_there_are_at_least_three_hundred_usable_documents() -> None:
    assert len({row["id"] for row in good_rows()}) >= 300


@pytest.mark.parametrize(
    ("script", "at_least"), [("Chinese", 100), ("Japanese", 15), ("Arabic", 15), ("emoji", 10)]
)
def test_languages_are_represented(script: str, at_least: int) -> None:
    assert sum(bool(SCRIPTS[script].search(row["text"])) for row in good_rows()) >= at_least


def test_english_documents_are_the_largest_group() -> None:
    others = [SCRIPTS[script] for script in ("Chinese", "Japanese", "Arabic")]
    english = [row for row in good_rows() if not any(s.search(row["text"]) for s in others)]

    assert len(english) >= 150


def test_one_of_the_five_long_documents_has_half_a_million_characters() -> None:
    lengths = {row["id"]: len(row["text"]) for row in rows("long")}

    assert len(lengths) == 5
    assert min(lengths.values()) > 30_000
    assert lengths["long-harbour-handbook"] >= 500_000


def test_the_longest_document_does_not_repeat_its_paragraphs() -> None:
    paragraphs = [part for part in text_of("long-harbour-handbook").split("\n\n") if len(part) > 80]

    assert len(paragraphs) > 1000
    assert len(set(paragraphs)) == len(paragraphs)


def test_texts_hold_what_breaks_careless_readers() -> None:
    texts = [row["text"] for row in good_rows()]

    assert any(not unicodedata.is_normalized("NFC", text) for text in texts)
    assert any("\u200d" in text and SCRIPTS["emoji"].search(text) for text in texts)
    assert any("\r\n" in text for text in texts)
    assert any("\t" in text for text in texts)
    assert any(max(map(len, re.split(r"\s", text))) > 5000 for text in texts)
    assert any(ord(max(text)) > 0xFFFF for text in texts)


def test_the_broken_file_holds_each_kind_of_unusable_row_among_good_ones() -> None:
    kinds = [
        (
            "null" if row["id"] is None else "empty" if row["id"] == "" else "present",
            "null" if row["text"] is None else "blank" if not row["text"].strip() else "present",
        )
        for row in rows("broken")
    ]

    assert kinds.count(("present", "null")) == 1
    assert kinds.count(("present", "blank")) == 2
    assert kinds.count(("null", "present")) == 1
    assert kinds.count(("empty", "present")) == 1
    assert kinds.count(("null", "null")) == 1
    assert kinds.count(("present", "present")) == 6


def test_only_the_broken_file_uses_an_id_twice() -> None:
    others = [row["id"] for row in rows(*(name for name in FILES if name != "broken"))]
    broken = {row["id"] for row in rows("broken")}

    assert len(set(others)) == len(others)
    assert broken & set(others) == {"manual-en-sewing"}


def test_forty_queries_name_documents_that_exist_and_do_not_quote_their_titles() -> None:
    lines = (SAMPLE_DATA / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    queries = [json.loads(line) for line in lines]
    titles = {row["id"]: row["title"] for row in good_rows()}

    assert len({query["query"] for query in queries}) == 40
    for query in queries:
        assert query.keys() == {"query", "doc_ids"}
        assert query["doc_ids"]
        assert set(query["doc_ids"]) <= titles.keys()
        assert query["query"] not in {titles[document_id] for document_id in query["doc_ids"]}


def test_generating_again_gives_the_committed_tables(generator: ModuleType, tmp_path: Path) -> None:
    generator.write_corpus(tmp_path)

    for name in FILES:
        committed = pq.read_table(CORPUS / f"{name}.parquet")
        assert pq.read_table(tmp_path / f"{name}.parquet").equals(committed), name


def test_generating_twice_gives_the_same_bytes(generator: ModuleType, tmp_path: Path) -> None:
    first, second = (generator.write_corpus(tmp_path / name) for name in ("first", "second"))

    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_code_pages_and_their_queries_can_be_written_again(tmp_path: Path) -> None:
    script("generate_codes").write_codes(tmp_path)

    committed = SAMPLE_DATA / "codes"
    rows = pq.read_table(committed / "codes.parquet")
    queries = (committed / "queries.jsonl").read_text(encoding="utf-8")
    answers = [json.loads(line)["doc_ids"] for line in queries.splitlines()]
    assert pq.read_table(tmp_path / "codes.parquet").equals(rows)
    assert (tmp_path / "queries.jsonl").read_text(encoding="utf-8") == queries
    assert len(answers) == 20
    assert {name for names in answers for name in names} <= set(rows["id"].to_pylist())
    assert rows.schema.names == COLUMNS
