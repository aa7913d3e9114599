"""pymilvus reads the environment on import; what users may put there must not trip it."""

import os
import subprocess
import sys
from pathlib import Path

SHOW_ENVIRONMENT = """
import json, os
import embed_index.pipeline.milvus.store
print(json.dumps({name: os.environ.get(name) for name in ("MILVUS_URI", "FROM_DOTENV")}))
"""


def python(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"MILVUS_URI": "here.db"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_address_in_the_environment_may_be_a_path(tmp_path: Path) -> None:
    done = python("-m", "embed_index.jobs.main", "describe", "docs", folder=tmp_path)

    assert done.returncode == 2
    assert "there is no collection 'docs'" in done.stderr
    assert f"no Milvus Lite is at {tmp_path / 'here.db'}" in done.stderr


def test_importing_the_adapters_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FROM_DOTENV=1\n")

    # Without a file of its own, as in a notebook, python-dotenv looks in the working folder.
    done = python("-c", SHOW_ENVIRONMENT, folder=tmp_path)

    assert done.stdout == '{"MILVUS_URI": "here.db", "FROM_DOTENV": null}\n'


def test_a_milvus_server_needs_no_index_library(tmp_path: Path) -> None:
    loaded = "[name for name in ('milvus_lite', 'faiss') if name in sys.modules]"

    done = python(
        "-c", f"import sys, embed_index.pipeline.milvus.store; print({loaded})", folder=tmp_path
    )

    assert done.stdout == "[]\n"


def test_pandas_and_requests_are_left_to_those_who_use_them(tmp_path: Path) -> None:
    program = """
import sys, embed_index.pipeline.milvus.sdk
print([name for name in ("pandas", "requests") if name in sys.modules])
import pandas, pymilvus
print(pymilvus.orm.schema.is_valid_insert_data(pandas.DataFrame()), pymilvus.__version__ > "3")
"""
    done = python("-c", program, folder=tmp_path)

    assert done.stdout == "[]\nTrue True\n", done.stderr
