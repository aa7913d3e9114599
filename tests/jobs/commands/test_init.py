"""`embed-index init`: drafts that the other commands accept."""

import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from job_fixtures import JobFolder

from embed_index.jobs.main import cli
from embed_index.jobs.settings.draft import collection_name
from embed_index.jobs.settings.loading import load_settings
from embed_index.pipeline.corpus.parquet import ParquetSource
from embed_index.schemas.setting_checks import collection_name as checked_name

PROSE = [f"The {n}th text is about something that somebody may look for." for n in range(9)]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def init(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["init", *arguments])


def write(path: str, **columns: object) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_a_draft_names_files_that_are_not_read() -> None:
    write("corpus/a.parquet", id=[*range(9)], body=PROSE)
    write("corpus/b.parq", id=[*range(9)], body=PROSE)
    write("corpus/_c.parquet", id=[*range(9)], body=PROSE)

    done = init("corpus")

    hidden, unlike = [line for line in done.stderr.splitlines() if "not read" in line]
    assert "_c.parquet" in hidden
    assert "b.parq;" in unlike


def test_a_draft_says_what_it_took_and_why() -> None:
    write("News 2026.parquet", id=[*range(9)], body=PROSE, source=["a"] * 9, product=["x"] * 9)

    done = init("News 2026.parquet", "--output", "-")

    assert done.exit_code == 0
    assert done.stderr == ""
    assert tomllib.loads(done.stdout) == {
        "source": {
            "input": "News 2026.parquet",
            "id_column": "id",
            "text_column": "body",
            "carry": ["product"],
        },
        "model": {
            "model": "Qwen/Qwen3-Embedding-0.6B",
            "query_instruction": "Given a web search query, retrieve relevant passages that answer"
            " the query",
        },
        "chunking": {"max_tokens": 256},
        "milvus": {"collection": "news_2026", "uri": ".embed-index/milvus.db"},
    }
    assert 'id_column = "id"  # by its name, unique and nowhere null in the first 9 rows' in (
        done.stdout
    )
    assert "#   source (string): 'source', a field that every collection has; carry it" in (
        done.stdout
    )


@pytest.mark.parametrize("output", ["nightly.toml", "jobs/a.toml"])
def test_the_file_is_accepted_wherever_it_lies(output: str) -> None:
    write("corpus/a.parquet", id=[*range(9)], text=PROSE)
    Path("jobs").mkdir()

    written = init("corpus", "--output", output)
    shown = CliRunner().invoke(cli, ["run", output, "--show-config"])
    settings = load_settings(job_file=Path(output)).settings

    assert written.stderr == f"{output} is written; read it before you run it\n"
    assert (written.exit_code, shown.exit_code) == (0, 0), shown.output
    assert settings.input == (str(Path.cwd() / "corpus"),)
    assert settings.collection == "corpus"


@pytest.mark.parametrize(
    "name", ['say "hi"', "back\\slash", "tab\tand\nline", "del\x7f", "[milvus]", "ключ", "a#b"]
)
def test_whatever_a_column_or_a_file_is_called_comes_back_from_the_toml(name: str) -> None:
    columns = {f"{name}_id": [*range(9)], f"{name} text": PROSE, name: ["x"] * 9}
    path = f"corpus/{name}.parquet".replace("\n", "")
    write(path, **columns)

    done = init(path, "--output", "job.toml")
    settings = load_settings(job_file=Path("job.toml")).settings

    assert done.exit_code == 0, done.output
    assert (settings.id_column, settings.text_column) == (f"{name}_id", (f"{name} text",))
    assert settings.input == (str(Path.cwd() / path),)


def test_a_title_beside_the_text_is_offered() -> None:
    write("a.parquet", id=[*range(9)], subject=["Pumps"] * 9, message=PROSE)

    text = init("a.parquet", "--output", "-").stdout

    assert '# text_column = ["subject", "message"]  # to have the title in the text, too' in text
    assert '# prefix_columns = ["subject"]  # to have the model see it before every chunk' in text
    assert tomllib.loads(text)["source"]["text_column"] == "message"


def test_damaged_files_are_named_and_the_others_looked_at() -> None:
    for name in ("a", "b", "c"):
        write(f"corpus/{name}.parquet", id=[f"{name}{n}" for n in range(9)], text=PROSE)
    content = Path("corpus/a.parquet").read_bytes()
    Path("corpus/a.parquet").write_bytes(content[:4] + b"\xff" * 60 + content[64:])
    Path("corpus/b.parquet").write_bytes(b"PAR1")

    done = init("corpus", "--output", "-")

    assert done.exit_code == 0
    told = [line for line in done.stderr.splitlines() if line.startswith("not looked at: /")]
    written = [line for line in done.stdout.splitlines() if line.startswith("# Not looked at")]
    for lines in (told, written):
        assert len(lines) == 2
        assert "corpus/b.parquet is not a readable Parquet file" in lines[0]
        assert "corpus/a.parquet cannot be read at row group 0" in lines[1]
    source = tomllib.loads(done.stdout)["source"]
    assert (source["id_column"], source["text_column"]) == ("id", "text")


def test_an_existing_file_is_not_overwritten() -> None:
    write("a.parquet", id=[*range(9)], text=PROSE)
    Path("nightly.toml").write_text("mine")

    done = init("a.parquet")

    assert done.exit_code == 2
    assert done.stderr == (
        "error: nightly.toml exists, and is not overwritten\n"
        "Name another file with --output, or print the draft with --output -.\n"
    )
    assert Path("nightly.toml").read_text() == "mine"


def test_files_of_several_kinds_are_told_apart() -> None:
    write("corpus/a.parquet", id=[*range(9)], text=PROSE)
    write("corpus/b.parquet", key=[*range(9)], size=[1.5] * 9)

    done = init("corpus")

    assert done.exit_code == 2
    assert done.stderr.startswith("error: corpus has 2 files without a column in common\n")


def test_a_corpus_without_texts_is_refused_with_its_columns() -> None:
    write("a.parquet", id=[*range(9)], size=[1.5] * 9)

    done = init("a.parquet")

    assert done.exit_code == 2
    assert done.stderr.startswith(
        'error: a.parquet has no column of texts; it has "id" (int64), "size" (double)\n'
        "The text must be a column of strings that are not all empty."
    )
    assert not Path("nightly.toml").exists()


def test_strings_that_do_not_read_like_texts_are_not_called_something_else() -> None:
    write("a.parquet", key=[f"k{n}" for n in range(9)], name=[*"abcdefghi"], none=[""] * 9)

    done = init("a.parquet")

    assert done.exit_code == 2
    assert done.stderr == (
        "error: a.parquet has no column whose strings read like texts; they are as short as labels,"
        ' or have no white space: "key", "name"\n'
        "If one of them is the text all the same, name it in a job file of your own with"
        " `text_column` under [source], or with `embed-index run --text-column NAME`.\n"
    )


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([1] * 9, "no column tells the documents apart in the first 9 rows (id repeats itself in"),
        ([*"abcdefgh", None], "to decide: id, the id by its name, is null or empty in 1 row.\n"),
    ],
)
def test_a_missing_id_is_told_and_written_down(ids: list[object], said: str) -> None:
    write("a.parquet", id=ids * 2, text=PROSE * 2) if ids[0] == 1 else write(
        "a.parquet", id=[*ids[:8], *[f"x{n}" for n in range(9)], None], text=PROSE * 2
    )
    said = said.replace("first 9 rows", "first 18 rows")

    done = init("a.parquet")
    text = Path("nightly.toml").read_text()

    assert done.exit_code == 0
    assert said in done.stderr
    assert "# TO DECIDE: " in text
    assert ('# id_column = "…"' in text) == (ids[0] == 1)
    assert CliRunner().invoke(cli, ["run", "nightly.toml", "--show-config"]).exit_code == 0


@given(st.text(max_size=300))
def test_every_name_becomes_one_that_milvus_takes(name: str) -> None:
    made = collection_name(name)

    assert made
    assert checked_name(made) == made


@pytest.mark.parametrize(
    ("name", "collection"),
    [
        ("articles", "articles"),
        ("Stack Overflow (2026)", "stack_overflow_2026"),
        ("2026-news", "documents_2026_news"),
        ("articles_v2", "articles"),
        ("train-00000-of-00007", "train"),
        ("Łódź_Überblick", "odz_uberblick"),
        ("新闻", "documents"),
    ],
)
def test_a_collection_is_called_as_its_corpus(name: str, collection: str) -> None:
    assert collection_name(name) == collection


def test_the_samples_draft_reads_the_whole_corpus(sample_corpus: Path) -> None:
    assert init(str(sample_corpus)).exit_code == 0
    settings = load_settings(job_file=Path("nightly.toml")).settings

    source = ParquetSource(
        settings.input,
        id_column=settings.id_column,
        text_columns=settings.text_column,
        carry=settings.carry,
    )

    assert settings.carry == ("title", "product", "severity", "created_at")
    assert sum(len(batch) + len(batch.dead_letters) for batch in source.read()) == 331


def test_a_drafted_job_runs(lite_job: JobFolder) -> None:
    lite_job.write({f"d{n}": text for n, text in enumerate(PROSE)})
    drafted = init(str(lite_job.folder / "corpus"), "--output", "job.toml")
    assert drafted.exit_code == 0, drafted.output

    model = ["--model", str(lite_job.model), "--dimension", "64"]
    done = lite_job.call("run", "job.toml", *model)

    assert "documents     9 (9 new, " in done.stdout
    assert load_settings(job_file=Path("job.toml")).settings.carry == ("topic",)
