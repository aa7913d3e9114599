"""What the documentation prints is true: commands, flags, links, names, and the first job."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from documentation import Page, find_commands, find_messages, read_pages
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder

from embed_index.jobs.main import cli
from embed_index.jobs.settings.job_file import read_job_file
from embed_index.jobs.settings.mistakes import Mistakes
from embed_index.jobs.settings.show import render_settings_table
from embed_index.schemas.reasons import REASONS
from embed_index.schemas.settings import SETTINGS

PAGES = read_pages()
README = PAGES[0]
MAX_README_LINES = 130
MAX_SENTENCE_WORDS = 40
FLAGS_OF_OTHERS = {"--ubatch-size", "--enable-metrics", "--skip-tokenizer-init"}
FLAGS_OF_OTHERS |= {"--num-cpus", "--runtime-env-json"}
"""Of llama.cpp, SGLang and Ray."""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def page(name: str) -> Page:
    (found,) = [page for page in PAGES if page.name == name]
    return found


def parse(arguments: list[str]) -> Result:
    """Let Click read a command line down to its last option, and run nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(click.Command, "invoke", lambda self, context: None)
        return CliRunner().invoke(cli, arguments)


def commands(
    group: click.Group = cli, *above: str
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words it is called by; a group comes before its own."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*above, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)


COMMANDS = {(): cli, **dict(commands())}


def test_the_pages_are_found() -> None:
    assert {"README.md", "docs/nights.md", "pipeline/README.md"} < {page.name for page in PAGES}


def test_pages_are_read_to_the_last_command_flag_and_sentence(repository: Path) -> None:
    made_up = Page(
        repository / "made_up.md",
        "# Title\n\nOne `embed-index run --a` ends. Two\ngoes on: [a link](x.md#y)\n"
        "- three\n\n| four five. Six | `embed-index gc \\| x` |\n\n    embed-index no\n\n"
        "```sh\nembed-index keys \\\n    --b   # c\nembed-index d > e; x\nnot embed-index f\n```\n"
        "```toml\na = 1\n```\n<!-- embed-index g -->\n",
    )

    assert made_up.commands("embed-index") == [["keys", "--b"], ["d"], ["run", "--a"], ["gc"]]
    assert made_up.links() == ["x.md#y"]
    assert made_up.blocks("toml") == ["a = 1\n"]
    assert [sentence for sentence in made_up.sentences() if sentence] == [
        "# Title", "One code ends.", "Two goes on: a link", "- three", "four five.", "Six", "code",
    ]  # fmt: skip


def assert_can_be_given(commands: Iterable[list[str]], *, where: str) -> None:
    for arguments in commands:
        if tuple(arguments) not in COMMANDS:  # Those are mentioned, not given.
            result = parse(arguments)
            assert result.exit_code == 0, f"{where}: {arguments}\n{result.output}"


@every_page
def test_every_command_can_be_given(page: Page) -> None:
    assert_can_be_given(page.commands("embed-index"), where=page.name)


def test_every_example_of_a_help_can_be_given() -> None:
    for words, command in COMMANDS.items():
        lines = (command.help or "").replace("\\\n", " ").splitlines()
        examples = find_commands(lines, "embed-index")
        assert examples, words
        assert_can_be_given(examples, where=" ".join(words))


def test_every_command_of_a_message_can_be_given(repository: Path) -> None:
    files = [
        file
        for layer in ("jobs", "pipeline", "schemas")
        for file in (repository / layer).rglob("*.py")
    ]
    given = 0
    for file in files:
        for message in find_messages(file):
            spans = re.findall(r"`(embed-index [^`]+)`", " ".join(message.split()))
            assert_can_be_given(find_commands(spans, "embed-index"), where=str(file))
            given += len(spans)
    assert given > 10


def test_no_message_has_pip_fetch_this_project_which_is_in_no_index(repository: Path) -> None:
    files = [
        f for layer in ("jobs", "pipeline", "schemas") for f in (repository / layer).rglob("*")
    ]
    texts = [file.read_text() for file in files if file.suffix in (".py", ".html", ".service")]
    installs = [line for text in texts for line in re.findall(r"pip install.*", text)]

    assert len(installs) > 5
    assert not [line for line in installs if re.search(r"install (-\w+ )?'?embed.index", line)]


@pytest.mark.parametrize(
    "arguments",
    [["run", "--nonsense"], ["keys", "nonsense"], ["describe"], ["nonsense"]],
    ids=" ".join,
)
def test_a_command_that_cannot_be_given_is_noticed(arguments: list[str]) -> None:
    assert parse(arguments).exit_code == 2


@every_page
def test_every_flag_and_variable_exists(page: Page) -> None:
    options = {
        flag
        for command in COMMANDS.values()
        for option in command.get_params(click.Context(command))
        for flag in (*option.opts, *option.secondary_opts)
    }
    variables = {field.env for field in SETTINGS} | {"EMBED_INDEX_DEBUG"}
    for span in page.spans():
        if flag := re.match(r"--[a-z][a-z-]*", span):
            assert flag[0] in options | FLAGS_OF_OTHERS, f"{page.name}: {span}"
        if variable := re.match(r"(?:EMBED_INDEX|EMBEDDING|MILVUS)_[A-Z_]+", span):
            assert variable[0] in variables, f"{page.name}: {span}"


@every_page
def test_every_python_program_exists_with_its_flags(page: Page, repository: Path) -> None:
    for arguments in filter(None, page.commands("python")):
        if arguments[0] == "-m":
            assert importlib.util.find_spec(arguments[1]), arguments
            continue
        program = repository / arguments[0]
        known = strings(program) | strings(program.parent / "bench_setting.py")
        unknown = {word for word in arguments[1:] if word.startswith("-")} - known
        assert not unknown, f"{page.name}: {arguments[0]} knows no {unknown}"


def strings(program: Path) -> set[str]:
    tree = ast.parse(program.read_text(encoding="utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@every_page
def test_every_make_target_exists(page: Page, repository: Path) -> None:
    makefile = (repository / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) [?:]?=", makefile, re.MULTILINE))
    for words in page.commands("make"):
        for word in words:
            name, is_variable, _ = word.partition("=")
            assert name in (variables if is_variable else targets), f"{page.name}: make {word}"


@every_page
def test_every_relative_link_leads_somewhere(page: Page) -> None:
    for target in page.links():
        if not re.match(r"https?:", target):
            path, _, anchor = target.partition("#")
            file = page.path.parent / path if path else page.path
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@every_page
def test_every_file_folder_and_class_that_is_named_exists(page: Page, repository: Path) -> None:
    """A bare file name may be that of any file, as beside the path of another one of its room."""
    names = {file.name for file in sources(repository)}
    for span in page.spans():
        if re.fullmatch(r"(\.\./)*[\w-]+(/[\w.-]+)*\.(py|sh|ipynb|lock|md|parquet)", span):
            places = (page.path.parent / span, repository / span)
            found = span in names or any(place.exists() for place in places)
            assert found, f"{page.name}: {span}"
        elif re.match(r"(jobs|pipeline|schemas|tests|docs|sample_data)(/|$)", span):
            assert (repository / span).exists(), f"{page.name}: {span}"


def test_every_class_of_the_architecture_exists(repository: Path) -> None:
    code = "\n".join(file.read_text() for file in sources(repository) if file.suffix == ".py")
    classes = set(re.findall(r"^class (\w+)", code, re.MULTILINE))
    named = {
        name for name in page("pipeline/README.md").spans() if re.fullmatch(r"([A-Z][a-z]+)+", name)
    }

    assert {"Source", "Store", "Embedder", "ChunkReader", "DocumentLedger"} <= named
    assert named <= classes


def sources(repository: Path) -> list[Path]:
    folders = ("jobs", "pipeline", "schemas", "tests", "sample_data")
    return [file for folder in folders for file in (repository / folder).rglob("*.*")]


@every_page
def test_sentences_are_short(page: Page) -> None:
    long = [sentence for sentence in page.sentences() if len(sentence.split()) > MAX_SENTENCE_WORDS]

    assert long == []


def test_the_readme_is_short() -> None:
    assert len(README.text.splitlines()) <= MAX_README_LINES


def test_the_readme_lists_every_command_and_the_manual_each_of_theirs() -> None:
    table = Page(README.path, README.text.partition("## The commands")[2])
    listed = {arguments[0] for arguments in table.commands("embed-index")}
    given = [arguments for page in PAGES for arguments in page.commands("embed-index")]

    assert set(cli.list_commands(click.Context(cli))) <= listed
    for words in COMMANDS:
        assert any(tuple(arguments[: len(words)]) == words for arguments in given), words


def test_git_does_not_take_a_key_that_a_page_has_written_into_this_folder(
    repository: Path, tmp_path: Path
) -> None:
    given = [arguments for page in PAGES for arguments in page.commands("embed-index")]
    places = {
        place
        for arguments in given
        for flag, place in pairwise(arguments)
        if flag in ("--key-file", "--env-file") and not place.startswith("/")
    }
    shutil.copy(repository / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True, timeout=60)
    ignored = subprocess.run(
        ["git", "-C", tmp_path, "check-ignore", *places],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert places >= {"key", ".env"}
    assert set(ignored.stdout.split()) == places


def test_the_settings_table_is_the_programs_own() -> None:
    assert page("docs/settings.md").marked("settings").strip() == render_settings_table()


@every_page
def test_every_job_file_can_be_read(page: Page, tmp_path: Path) -> None:
    for number, text in enumerate(page.blocks("toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(text, encoding="utf-8")
        mistakes = Mistakes()
        assert read_job_file(file, mistakes)
        mistakes.refuse()


def test_every_reason_of_a_dead_letter_is_explained(repository: Path) -> None:
    code = "\n".join(file.read_text() for file in (repository / "pipeline").rglob("*.py"))
    errors = re.findall(r'(?:BadRowError|RequestRefusedError)\(\s*"(\w+)"', code)
    letters = re.findall(r'\breason="(\w+)"', code)
    table = page("docs/nights.md").text.partition("| reason |")[2].partition("\n\n")[0]
    first_cells = "".join(line.split("|")[1] for line in table.splitlines() if line.count("|") > 2)
    explained = set(re.findall(r"`(\w+)`", first_cells))

    assert {*errors, *letters} == explained - {"refused_400"} == {*REASONS}


def test_the_first_job_of_the_readme_ends_in_a_searched_collection(
    tmp_path: Path, repository: Path, sample_model: Path, hash_server: HashEmbeddingServer
) -> None:
    """Its commands as they stand; a server is given, so that none is started."""
    (first_job,) = Page(README.path, README.marked("first job")).blocks("sh")
    texts = ["Choose Forgot password.", "Invoices are sent by mail.", "Damp paper jams."]
    (tmp_path / "corpus").mkdir()
    pq.write_table(
        pa.table({"id": ["a", "b", "c"], "text": texts}), tmp_path / "corpus" / "a.parquet"
    )
    (tmp_path / "Makefile").write_text("demo:\n")  # It is done.
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "sample-model").symlink_to(sample_model)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    unset = ("EMBED", "MILVUS")
    environment = {name: v for name, v in os.environ.items() if not name.startswith(unset)}

    done = subprocess.run(
        ["sh", "-eu", "-c", first_job],
        cwd=tmp_path,
        env=environment
        | {"EMBEDDING_API_BASE": hash_server.url, "EMBEDDING_API_KEY": hash_server.key},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if "chunk 1/1" in line]) == 3


def test_the_library_s_first_program_finds_what_it_is_asked_for(
    tmp_path: Path, library_job: JobFolder, key_file: Path
) -> None:
    (program,) = Page(
        README.path, page("docs/collections-and-searching.md").marked("library")
    ).blocks("python")
    program = program.replace("http://127.0.0.1:19530", library_job.uri)
    key_file.write_text(library_job.server.key)

    done = subprocess.run(
        [sys.executable, "-c", program.replace('"articles"', f'"{library_job.collection}"')],
        cwd=tmp_path,
        env=os.environ
        | {
            "EMBEDDING_API_BASE": library_job.server.url,
            "EMBED_INDEX_MODEL": str(library_job.model),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert len(program.splitlines()) <= 5
    assert len(done.stdout.splitlines()) == 3
