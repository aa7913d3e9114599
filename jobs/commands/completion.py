"""`embed-index completion`: what completes the command line in a shell."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, /, *, shell: str) -> None:
    """Print what completes this command line in a shell.

    Commands, options, their choices and paths are completed.

    \b
    embed-index completion bash > ~/.local/share/bash-completion/completions/embed-index
    embed-index completion zsh > ~/.zfunc/_embed-index      # a folder in fpath, before compinit
    embed-index completion fish > ~/.config/fish/completions/embed-index.fish
    """  # noqa: D301 - Click wants the character
    root = ctx.find_root()
    name = root.info_name
    assert name is not None
    variable = f"_{name}_COMPLETE".replace("-", "_").upper()
    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(root.command, {}, name, variable).source())
