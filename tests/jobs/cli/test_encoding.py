"""Output on terminals and in pipes that do not take every character."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = "Ein Wort – 日本語 😀."


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_what_an_encoding_lacks_is_escaped_as_json_does(
    tmp_path: Path, sample_model: Path, encoding: str
) -> None:
    (tmp_path / "text.md").write_text(TEXT, encoding="utf-8")
    command = [sys.executable, "-m", "embed_index.jobs.main", "chunk", str(tmp_path / "text.md")]

    done = subprocess.run(
        [*command, "--model", str(sample_model), "--format", "json"],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )

    assert TEXT in {chunk["text"] for chunk in json.loads(done.stdout)["chunks"]}
