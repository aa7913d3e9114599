"""The two options that name a key's place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def key_place_options(command: Decorated) -> Decorated:
    """Add `--key-file` and `--env-file`, of which one must be given."""
    path = click.Path(path_type=Path)
    for flag, metavar, text in (
        ("--env-file", ".env", "File with EMBEDDING_API_KEY among other entries."),
        ("--key-file", "FILE", "File that holds the key and nothing else."),
    ):
        command = click.option(flag, type=path, metavar=metavar, help=text)(command)
    return command
