"""A key as people make one."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from embed_index.jobs.main import cli


def keys(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["keys", *arguments])


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    assert keys("generate", "--key-file", str(path)).exit_code == 0
    return path
