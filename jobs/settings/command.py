"""What commands with settings have in common: flags become settings, or are shown."""

import functools
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.options import SettingArgument, SettingOption, show_config_option
from embed_index.jobs.settings.loading import load_settings
from embed_index.jobs.settings.show import render_config


def with_settings(
    *, required: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Call a command with the settings that flags, environment and files make.

    Adds `--show-config`, with which they are shown and the command is not called. The command takes
    `settings` and those of its parameters that are neither a setting nor the place of settings.

    Args:
        required: Fields that the command cannot do without.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def call(
            *,
            show_config: bool,
            job_file: Path | None = None,
            key_file: Path | None = None,
            **given: Any,
        ) -> None:
            params = click.get_current_context().command.params
            flags = {
                param.name: given.pop(param.name)
                for param in params
                if isinstance(param, SettingOption | SettingArgument) and param.name is not None
            }
            loaded = load_settings(
                job_file=job_file,
                flags=flags,
                required=() if show_config else required,
                key_file=key_file,
            )
            if show_config:
                click.echo(render_config(loaded))
            else:
                command(settings=loaded.settings, **given)

        return show_config_option(call)

    return decorate
