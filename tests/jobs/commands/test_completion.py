"""What a shell offers after TAB, asked of the printed scripts in the shells themselves."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from cpu_time import cpu_seconds_of_children

from embed_index.jobs.commands import keys
from embed_index.jobs.main import COMMANDS, cli

HEAVY = ("torch", "sglang", "pymilvus", "pyarrow", "numpy", "tqdm", "httpx", "asyncio")
ASKING = """
source /dev/stdin
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
compopt() { printf 'compopt %s %s\\n' "$1" "$2"; }
_embed_index_completion embed-index
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str) -> str:
    done = CliRunner().invoke(cli, ["completion", shell], prog_name="embed-index")
    assert done.exit_code == 0, done.output
    return done.stdout


def variables(words: Sequence[str] = ()) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    asked = {
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_EMBED_INDEX_COMPLETE": "bash_complete",
    }
    return {**os.environ, "PATH": path, **(asked if words else {})}


def offered(*words: str) -> list[str]:
    """What bash has to offer for the last of the words, which may be empty."""
    done = subprocess.run(
        ["bash", "--norc", "-c", ASKING, "bash", *words],
        input=script("bash"),
        env=variables(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_accepts_its_script(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")

    done = subprocess.run(
        [program, "-n"], input=script(shell), capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_the_installed_command(shell: str) -> None:
    assert f"_EMBED_INDEX_COMPLETE={shell}_complete" in script(shell)
    assert "embed-index" in script(shell)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("",), list(COMMANDS)),
        (("de",), ["describe", "deploy"]),
        (("--v",), ["--version"]),
        (("keys", ""), list(keys.COMMANDS)),
        (("keys", "r"), ["rotate", "remove"]),
        (("run", "--log"), ["--log-format"]),
        (("run", "--log-format", ""), ["auto", "text", "json"]),
        (("search", "articles", "text", "--li"), ["--limit"]),
        (("keys", "rotate", "--key"), ["--key-file"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("run", ""), ["compopt -o default"]),
        (("run", "--input", ""), ["compopt -o default"]),
        (("init", ""), ["compopt -o default"]),
        (("nonsense", ""), list(COMMANDS)),
    ],
    ids=" ".join,
)
def test_bash_offers_what_may_come_next(words: tuple[str, ...], expected: list[str]) -> None:
    assert offered("embed-index", *words) == expected


@pytest.mark.parametrize(
    "words",
    [("",), ("keys", ""), *((name, "--") for name in COMMANDS)],
    ids=" ".join,
)
def test_completion_imports_only_the_command_at_hand(
    repository: Path, words: tuple[str, ...]
) -> None:
    asking = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('MODULES', *sys.modules))\n"
        "from embed_index.jobs.main import main; main()"
    )
    output = subprocess.run(
        [sys.executable, "-c", asking],
        env=variables(("embed-index", *words)),
        check=True,
        capture_output=True,
        text=True,
        cwd=repository / "tests",
    ).stdout
    modules = set(output.rpartition("MODULES ")[2].split())
    # The module of a command whose name is a word of Python ends in an underscore.
    commands = {x.rstrip("_") for x in modules if x.startswith("embed_index.jobs.commands.")}

    assert "click" in modules
    assert not modules & set(HEAVY)
    assert commands <= {f"embed_index.jobs.commands.{words[0]}"}


@pytest.mark.parametrize("words", [("",), ("keys", "")], ids=" ".join)
def test_completion_answers_in_under_300_ms(repository: Path, words: tuple[str, ...]) -> None:
    def seconds() -> float:
        begin = cpu_seconds_of_children()
        subprocess.run(
            [sys.executable, "-c", "from embed_index.jobs.main import main; main()"],
            env=variables(("embed-index", *words)),
            check=True,
            capture_output=True,
            cwd=repository / "tests",
        )
        return cpu_seconds_of_children() - begin

    assert min(seconds() for _ in range(7)) < 0.3
