"""Colours on a terminal, and nowhere else."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ASKING = (
    *(sys.executable, "-c", "from embed_index.jobs.main import main; main()"),
    *("search", "articles", ""),
)


def on_a_terminal(folder: Path, **variables: str) -> bytes:
    """What a failing command writes where its errors go to a terminal."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm", **variables}
    subprocess.run(ASKING, stderr=theirs, cwd=folder, env=environment, timeout=60)
    os.close(theirs)
    written = os.read(ours, 4096)
    os.close(ours)
    return written


def test_an_error_stands_out_on_a_terminal(tmp_path: Path) -> None:
    assert on_a_terminal(tmp_path) == (
        b"\x1b[31m\x1b[1merror:\x1b[0m the query is empty\r\n"
        b"Give the text to search for, in quotes.\r\n"
    )


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_refused(tmp_path: Path, variables: dict[str, str]) -> None:
    assert b"\x1b" not in on_a_terminal(tmp_path, **variables)


def test_a_pipe_gets_no_colours(tmp_path: Path) -> None:
    done = subprocess.run(ASKING, capture_output=True, cwd=tmp_path, timeout=60)

    assert done.stderr.startswith(b"error: the query is empty\n")
