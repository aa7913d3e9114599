"""The name of a job file on the command line, and what is said of a corpus in its place."""

import os
import shlex
from pathlib import Path

import click

from embed_index.jobs.cli.local_path import LocalPath
from embed_index.pipeline.secrecy.redaction import mask_userinfo
from embed_index.schemas.errors import ConfigurationError


class JobFile(LocalPath):
    """The path of a job file; an address is none, and as a path would lose one of its slashes."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """Refuse an address.

        Raises:
            ConfigurationError: It is one.
        """
        text = os.fspath(value)
        if "://" in text:
            raise no_job_file(text, what="an address")
        return super().convert(value, param, ctx)


JOB_FILE = JobFile()


def no_job_file(named: str, *, what: str) -> ConfigurationError:
    """Return the error for a corpus that stands where what says how to index it is wanted."""
    named = mask_userinfo(named)
    quoted = shlex.quote(named)
    return ConfigurationError(
        f"{named} is {what}, not a job file",
        remedy=f"Write a job file for it with `embed-index init {quoted}`, or index it with"
        f" `embed-index run --input {quoted} --collection NAME`.",
    )
