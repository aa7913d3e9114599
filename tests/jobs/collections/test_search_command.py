"""`embed-index search` as people and programs use it: formats, files of queries, a prompt."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from job_fixtures import JobFolder
from library_fixtures import DOCUMENTS
from serve_process import wait_for

NAMES = ["pump", "coffee", "printer"]


def search(job: JobFolder, *arguments: str, expect: int = 0) -> Result:
    return job.on_collection("search", *arguments, "--model", str(job.model), expect=expect)


def write_queries(path: Path, *, ids: bool = True) -> None:
    rows = [
        {"query": DOCUMENTS[name]} | ({"id": f"q-{name}"} if ids else {}) | {"other": 1}
        for name in NAMES
    ]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + "\n")


def test_json_lines_hold_whole_texts(library_job: JobFolder) -> None:
    done = search(library_job, DOCUMENTS["pump"], "--format", "jsonl", "--limit", "2")

    first, _ = map(json.loads, done.stdout.splitlines())
    assert (first["rank"], first["doc_id"], first["text"]) == (1, "pump", DOCUMENTS["pump"])


def test_an_arrow_stream_can_be_read(library_job: JobFolder) -> None:
    done = search(library_job, DOCUMENTS["pump"], "--format", "arrow", "--limit", "2")

    table = pa.ipc.open_stream(io.BytesIO(done.stdout_bytes)).read_all()
    assert (table.num_rows, table["doc_id"][0].as_py()) == (2, "pump")


def test_documents_come_once_where_they_are_grouped(library_job: JobFolder) -> None:
    done = search(library_job, "x", "--group-by", "document", "--json", "--limit", "5")

    found = [hit["doc_id"] for hit in json.loads(done.stdout)]
    assert sorted(found) == sorted(DOCUMENTS)


def test_an_instruction_changes_the_query(library_job: JobFolder) -> None:
    done = search(library_job, DOCUMENTS["pump"], "--instruction", "t", "--json", "--limit", "1")

    assert json.loads(done.stdout)[0]["score"] < 0.9


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("ids", [True, False])
def test_a_file_of_queries_becomes_a_file_of_hits(
    library_job: JobFolder, tmp_path: Path, suffix: str, ids: bool
) -> None:
    queries, output = tmp_path / f"queries{suffix}", tmp_path / "hits.parquet"
    write_queries(queries, ids=ids)

    done = search(library_job, "--queries", str(queries), "--output", str(output), "--limit", "2")

    rows = pq.read_table(output).to_pylist()
    best = [row for row in rows if row["rank"] == 1]
    assert [row["doc_id"] for row in best] == NAMES
    assert [row["query_index"] for row in rows] == [0, 0, 1, 1, 2, 2]
    assert [row.get("query_id") for row in best] == [f"q-{n}" if ids else None for n in NAMES]
    assert done.stdout == ""
    assert f"3 queries, 6 hits in {output}\n" in done.stderr
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_hits_of_a_file_are_written_to_standard_output_too(
    library_job: JobFolder, tmp_path: Path
) -> None:
    queries = tmp_path / "queries.jsonl"
    write_queries(queries)
    arguments = ("--queries", str(queries), "--limit", "1")

    lines = search(library_job, *arguments, "--format", "jsonl").stdout.splitlines()
    table = search(library_job, *arguments).stdout.splitlines()
    stream = search(library_job, *arguments, "--format", "arrow").stdout_bytes

    assert [(json.loads(line)["query_id"], json.loads(line)["doc_id"]) for line in lines] == [
        (f"q-{name}", name) for name in NAMES
    ]
    assert table[0] == f"q-pump: {DOCUMENTS['pump']}"
    assert len(table) == 9
    assert pa.ipc.open_stream(io.BytesIO(stream)).read_all()["query_id"].to_pylist() == [
        f"q-{name}" for name in NAMES
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"query": "x"}\n{"query": " "}\n', "row 2: the query is empty"),
        ('{"query": 7}\n', "row 1: a query is a text, not int"),
        ('{"question": "x"}\n', "has no column `query` or `text`"),
        ("[1]\n", "has no column `query` or `text`"),
        ("nonsense\n", "line 1 is not JSON"),
        ('{"query": "x", "id": 1}\n{"query": "y"}\n', "some queries have an id and some have none"),
        ("\n", "holds no query"),
    ],
)
def test_a_file_that_is_none_of_queries_is_refused_before_anything_is_written(
    library_job: JobFolder, tmp_path: Path, content: str, message: str
) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text(content)

    done = search(
        library_job, "--queries", str(queries), "--output", str(tmp_path / "h.parquet"), expect=2
    )

    assert message in done.stderr
    assert not (tmp_path / "h.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument 'TEXT'"),
        (("x", "--queries", "q.jsonl"), "not both"),
        (("x", "--output", "h.parquet"), "--output is for --queries"),
        (("--queries", "q.jsonl", "--json"), "--format jsonl"),
        (("--queries", "missing.jsonl"), "cannot be read: No such file"),
        (
            ("x", "--filter", "nope == 1"),
            "the filter 'nope == 1': unknown field",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    library_job: JobFolder, arguments: tuple[str, ...], message: str
) -> None:
    assert message in search(library_job, *arguments, expect=2).stderr


def test_without_a_text_a_terminal_is_asked_for_one_after_the_other(
    library_job: JobFolder, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "embed_index.jobs.main", "search", library_job.collection]
    command += ["--milvus-uri", library_job.uri, "--model", str(library_job.model), "--limit", "1"]
    output = tmp_path / "output"
    with output.open("wb") as written:
        process = subprocess.Popen(
            [*command, "--filter", 'topic != "topic of long"'],
            stdin=theirs,
            stdout=written,
            stderr=subprocess.STDOUT,
            env=os.environ | library_job.environment | {"TERM": "dumb"},
            cwd=tmp_path,
        )
    os.close(theirs)
    for answer in ("pump", "coffee"):
        shown = f"  {answer}  (chars"
        os.write(ours, f"\n{DOCUMENTS[answer]}\n".encode())
        wait_for(lambda shown=shown: shown in output.read_text())  # type: ignore[misc]
    os.write(ours, b"\x04")
    process.wait(timeout=60)
    os.close(ours)

    assert process.returncode == 0, output.read_text()
    assert output.read_text().count("(chars") == 2
