"""Programs of the operating system that tests check printed text with."""

import os
import shutil
from typing import Never

import pytest

_PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def host_program(name: str, *, package: str) -> str:
    """Return a program's path; without it a test is left out, but not in continuous integration."""
    return shutil.which(name, path=_PLACES) or _missing(name, package)


def _missing(name: str, package: str) -> Never:
    reason = f"{name} is not installed: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
