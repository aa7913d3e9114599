"""Groups of commands that are imported when they are called."""

from collections.abc import Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click
from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """A group that knows names and short helps, so that its help imports no command."""

    def __init__(
        self, *args: Any, listing: Mapping[str, str], prefix: str = "", **kwargs: Any
    ) -> None:
        """Name the commands.

        Args:
            listing: Names and short helps, in the order in which people need them.
            prefix: What the names of the commands' modules begin with.
            args: Of `click.Group`.
            kwargs: Of `click.Group`.
        """
        super().__init__(*args, **kwargs)
        self._listing = listing
        self._prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order in which people need them."""
        return list(self._listing)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """Import a command's module and return the command."""
        if cmd_name not in self._listing:
            return None
        # Python has no module and no function of the name `import`.
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name.replace("-", "_")
        module = import_module(f"embed_index.jobs.commands.{self._prefix}{name}")
        command = getattr(module, name)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the commands without importing them, and the group's own options."""
        named = [
            CompletionItem(name, help=text)
            for name, text in self._listing.items()
            if name.startswith(incomplete)
        ]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._listing.items()))
