"""A `~` that no shell has expanded is the home, on the command line and in job files."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from embed_index.jobs.cli.local_path import LocalPath
from embed_index.jobs.main import cli
from embed_index.jobs.settings.loading import load_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "work")
    return home


def commands(group: click.Group) -> Iterator[click.Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield command
        if isinstance(command, click.Group):
            yield from commands(command)


def test_every_path_of_every_command_knows_the_home() -> None:
    paths = [
        (command.name, param.name, type(param.type))
        for command in commands(cli)
        for param in command.params
        if isinstance(param.type, click.Path)
    ]

    assert len(paths) > 50
    assert [found for found in paths if not issubclass(found[2], LocalPath)] == []


def test_a_path_behind_an_equals_sign_is_expanded(home: Path) -> None:
    done = CliRunner().invoke(cli, ["keys", "generate", "--key-file=~/key"])

    assert done.exit_code == 0, done.output
    assert (home / "key").is_file()
    assert not (home / "work" / "~").exists()


def test_a_job_file_is_found_in_the_home_and_names_paths_there(home: Path) -> None:
    (home / "job.toml").write_text('[source]\ninput = ["~/riots", "~/a/*.parquet"]\n')

    settings = load_settings(job_file=home / "job.toml", environ={}, folder=home).settings
    done = CliRunner().invoke(cli, ["run", "~/job.toml", "--show-config"])

    assert settings.input == (str(home / "riots"), str(home / "a" / "*.parquet"))
    assert done.exit_code == 0, done.output
