"""The program that `deploy milvus-roles` prints; what it does is tried on a server elsewhere."""

import ast
from pathlib import Path

import pytest
from click.testing import CliRunner

from embed_index.jobs.main import cli


def printed(tmp_path: Path, milvus: str, *more: str, expect: int = 0) -> str:
    job_file = tmp_path / "nightly.toml"
    job_file.write_text(f'[milvus]\ncollection = "articles"\n{milvus}\n')
    done = CliRunner().invoke(cli, ["deploy", "milvus-roles", "--job", str(job_file), *more])
    assert done.exit_code == expect, done.output
    return done.output


def literals(program: str) -> set[str]:
    return {
        node.value
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize(
    ("milvus", "uri", "database"),
    [
        ('uri = "http://milvus:19530"', "http://milvus:19530", "default"),
        ('uri = "http://milvus:19530"\ndb = "search"', "http://milvus:19530", "search"),
        ('uri = "http://milvus:19530/search"', "http://milvus:19530", "search"),
    ],
)
def test_it_is_for_the_jobs_database(tmp_path: Path, milvus: str, uri: str, database: str) -> None:
    written = literals(printed(tmp_path, milvus))

    assert {uri, database} <= written
    assert {name for name in written if name.startswith("embed_index_")} == {
        f"embed_index_loader_{database}",
        f"embed_index_reader_{database}",
    }


def test_it_connects_with_the_jobs_files_for_tls(tmp_path: Path) -> None:
    milvus = 'uri = "https://milvus:19530"\nca_file = "ca.pem"\n'
    mutual = 'client_cert = "our own.pem"\nclient_key = "key.pem"\n'

    assert str(tmp_path / "ca.pem") in literals(printed(tmp_path, milvus))
    assert {str(tmp_path / name) for name in ("ca.pem", "our own.pem", "key.pem")} <= literals(
        printed(tmp_path, milvus + mutual)
    )


def test_the_environments_token_is_not_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILVUS_TOKEN", "root:pass-5ec7")

    program = printed(tmp_path, 'uri = "http://milvus:19530"')

    assert "5ec7" not in program


@pytest.mark.parametrize("more", [(), ("--apply",)])
def test_milvus_lite_has_no_roles(tmp_path: Path, more: tuple[str, ...]) -> None:
    said = printed(tmp_path, 'uri = "articles.db"', *more, expect=2)

    assert "is Milvus Lite, which has neither users nor roles" in said
    assert not (tmp_path / "articles.db").exists()
