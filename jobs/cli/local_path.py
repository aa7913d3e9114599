"""Paths on the command line."""

import os

import click


class LocalPath(click.Path):
    """A path of this host; a `~` that no shell has expanded, as in `--to=~/backup`, is the home."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """Expand, then do as `click.Path`."""
        expanded = os.path.expanduser(value)  # noqa: PTH111 - Path would fold an address' slashes
        return super().convert(expanded, param, ctx)
