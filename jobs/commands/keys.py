"""`embed-index keys`: the life of the embedding server's key."""

from collections.abc import Mapping

import click

from embed_index.jobs.cli.lazy_group import LazyGroup

COMMANDS: Mapping[str, str] = {
    "generate": "Draw a key and write it where only you can read it.",
    "verify": "Try every route of a running server without the key.",
    "rotate": "Give the running server a new key, and prove the old one dead.",
    "destroy": "Overwrite and remove a key.",
    "add": "Give somebody a key of their own.",
    "list": "Show whose keys there are, and what they open.",
    "remove": "Take somebody's key away.",
}
"""Names and short helps of the commands in `keys_*.py`."""


@click.group(cls=LazyGroup, listing=COMMANDS, prefix="keys_")
def keys() -> None:
    """Make, check, change and destroy the embedding server's key.

    No command prints a key or takes one as an argument. A key lives in a file of its own or as
    EMBEDDING_API_KEY in a .env file. Those who share the server get keys of their own, by names.

    \b
    embed-index keys generate --key-file key
    embed-index keys rotate --key-file key
    embed-index keys add alice --query-only
    """  # noqa: D301 - Click wants the character
