"""Fixtures for corpora."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder in which permissions count, although the tests may run as root."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if user == 0:
                os.seteuid(0)
            for path in (p for p in folder.rglob("*") if not p.is_symlink()):
                path.chmod(0o777)
