"""Which files are a corpus: all that can be found, or an error that names what cannot."""

import os
from pathlib import Path

import pytest

from embed_index.pipeline.corpus.listing import Listing, list_corpus
from embed_index.schemas.errors import ConfigurationError


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def listed(*inputs: Path | str) -> Listing:
    return list_corpus([str(path) for path in inputs])


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (".", ["UP.PARQUET", "a/one.parquet", "a/sub/two.parquet", "x.parquet/part-0.parquet"]),
        ("*", ["UP.PARQUET", "a/one.parquet", "a/sub/two.parquet", "x.parquet/part-0.parquet"]),
        ("*.parquet", ["part-0.parquet"]),
        ("a/*.parquet", ["one.parquet"]),
        ("a/*", ["one.parquet", "sub/two.parquet"]),
        ("**/*.parquet", ["a/one.parquet", "a/sub/two.parquet", "x.parquet/part-0.parquet"]),
        ("a/**", ["one.parquet", "sub/two.parquet"]),
        ("**/sub/*.parquet", ["two.parquet"]),
        ("?/*.[p]*", ["one.parquet"]),
        ("*.PARQUET", ["UP.PARQUET"]),
    ],
)
def test_patterns_and_folders_name_files_and_whole_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, names: list[str]
) -> None:
    touch(tmp_path / "UP.PARQUET", tmp_path / "a" / "one.parquet")
    touch(tmp_path / "a" / "sub" / "two.parquet", tmp_path / "x.parquet" / "part-0.parquet")
    monkeypatch.chdir(tmp_path)

    assert list(listed(pattern).names) == names


@pytest.mark.parametrize("pattern", [".", "**/*.parquet", "*", "*/*.parquet"])
def test_leftovers_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    leftovers = [".ipynb_checkpoints", "_temporary", "lost+found"]
    touch(*(tmp_path / name / "part-0.parquet" for name in ["day=1", "_day=2", *leftovers]))
    touch(tmp_path / "day=1" / "_part-1.parquet", tmp_path / "day=1" / ".part-0.parquet.crc")
    monkeypatch.chdir(tmp_path)

    found = listed(pattern)

    assert list(found.names) == ["_day=2/part-0.parquet", "day=1/part-0.parquet"]
    assert {path.name for path in found.ignored} == {*leftovers, "_part-1.parquet"}


ROWS_BY_OTHER_NAMES = ["b.parq", "c.PQ", "d.parquet.gz", "e.csv", "f.jsonl", "sub/part-00000"]


def test_files_that_may_hold_rows_and_are_not_read_are_named(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in [*ROWS_BY_OTHER_NAMES, "README.md", "LICENSE", "x.toml"]))
    touch(tmp_path / "a.parquet", tmp_path / "a.parquet.sha256")

    found = listed(tmp_path)
    (notice,) = found.notices()

    assert found.names == ("a.parquet",)
    assert {str(path) for path in found.unlike} == {str(tmp_path / x) for x in ROWS_BY_OTHER_NAMES}
    assert f"do not end in .parquet: 6, such as {tmp_path}/b.parq; give it as --input" in notice


def test_files_of_other_names_that_are_given_are_no_news(tmp_path: Path) -> None:
    touch(tmp_path / "a.parquet", tmp_path / "b.parq", tmp_path / "sub" / "c.parq")

    found = listed(tmp_path, tmp_path / "**" / "*.parq")

    assert sorted(found.names) == ["a.parquet", "b.parq", "sub/c.parq"]
    assert not found.notices()
    assert not listed(tmp_path / "*.parquet").notices()


def test_a_folder_of_parquet_by_another_name_is_no_empty_folder(tmp_path: Path) -> None:
    touch(tmp_path / "b.parq")

    with pytest.raises(ConfigurationError, match=r"\*\.parquet file, but others, such as b\.parq"):
        listed(tmp_path)


@pytest.mark.parametrize("named", ["_in", "_*", "_in/*.parquet", "_in/part-0.parquet", "**/_in"])
def test_a_leftover_that_is_named_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    touch(tmp_path / "_in" / "part-0.parquet")
    monkeypatch.chdir(tmp_path)

    assert list(listed(named).names) == ["part-0.parquet"]


def test_folders_behind_links_are_read_once_and_circles_are_noticed(tmp_path: Path) -> None:
    corpus, elsewhere = tmp_path / "corpus", tmp_path / "elsewhere"
    touch(corpus / "real" / "one.parquet", elsewhere / "two.parquet")
    (corpus / "again").symlink_to(corpus / "real")
    (corpus / "linked").symlink_to(elsewhere)
    (corpus / "real" / "back").symlink_to(corpus)
    (corpus / "three.parquet").symlink_to(elsewhere / "two.parquet")

    assert listed(corpus).names == ("linked/two.parquet", "real/one.parquet")
    assert set(listed(corpus / "**" / "*.parquet").names) == set(listed(corpus).names)


@pytest.mark.parametrize("pattern", ["", "*", "**/*.parquet", "*/*"])
@pytest.mark.parametrize("name", ["gone.parquet", "folder"])
def test_a_link_to_nowhere_is_named(tmp_path: Path, pattern: str, name: str) -> None:
    touch(tmp_path / "one.parquet", tmp_path / "a" / "one.parquet")
    (tmp_path / name).symlink_to(tmp_path / "nowhere")

    with pytest.raises(ConfigurationError, match=f"{name} is a link to .*nowhere, which cannot"):
        listed(tmp_path / pattern)


@pytest.mark.parametrize("pattern", ["", "*", "**/*.parquet", "*/*"])
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_folder_that_may_not_be_read_is_named(as_nobody: Path, pattern: str, mode: int) -> None:
    touch(as_nobody / "one.parquet", as_nobody / "closed" / "two.parquet")
    (as_nobody / "closed").chmod(mode)

    with pytest.raises(ConfigurationError, match=r"closed\S* cannot be looked at: Permission"):
        listed(as_nobody / pattern)
    with pytest.raises(ConfigurationError, match="cannot be looked at: Permission"):
        listed(as_nobody / "closed" / "two.parquet")


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        ("_delta_log/00000.json", "Delta"),
        (".hoodie/hoodie.properties", "Hudi"),
        ("metadata/v1.metadata.json", "Iceberg"),
    ],
)
@pytest.mark.parametrize("pattern", ["table", "table/lang=de", "table/*/*.parquet", "."])
def test_a_table_with_files_of_dead_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, kind: str, pattern: str
) -> None:
    touch(tmp_path / "table" / log, tmp_path / "table" / "lang=de" / "part-0.parquet")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigurationError, match=f"table is a table in {kind} format"):
        listed(pattern)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("https://host/corpus.parquet", "https:// addresses are not read"),
        ("file:///no/such/folder", "does not exist"),
        ("nothing.parquet", "nothing.parquet does not exist"),
        ("*.parquet", "matches no file"),
        ("a.parquet,b.parquet", "does not exist"),
        (".", "holds no"),
        ("pipe.parquet", "not a regular file"),
    ],
)
def test_what_cannot_be_a_corpus_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text.startswith("pipe"):
        os.mkfifo(text)

    with pytest.raises(ConfigurationError, match=match) as caught:
        listed(text)
    assert caught.value.remedy
    assert ("by an --input of its own" in caught.value.remedy) == ("," in text)


def test_a_file_address_is_the_path_that_it_names(tmp_path: Path) -> None:
    touch(tmp_path / "a b" / "one.parquet", tmp_path / "a b" / "two.parquet")
    address = f"file://{tmp_path}/a%20b"

    assert listed(address) == listed(tmp_path / "a b")
    assert listed(f"{address}/t*.parquet").names == ("two.parquet",)


def test_nothing_named_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no Parquet file was named"):
        listed()
