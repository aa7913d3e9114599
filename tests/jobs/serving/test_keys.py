"""The life of a key: drawn into a safe place, kept there, and removed from it."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from key_fixtures import keys
from pydantic import SecretStr

from embed_index.jobs.serving.key_places import EnvEntry, KeyFile, KeyPlace
from embed_index.jobs.settings.loading import load_settings
from embed_index.pipeline.secrecy import checks as key_safety
from embed_index.pipeline.secrecy.key_file import read_key_file

KEY = re.compile(r"ei-[A-Za-z0-9_-]{43}")
ENV = "# where Milvus is\nMILVUS_URI=\"http://m:19530\"\n\nexport OTHER=1 # kept\nLAST='a\nb'"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private folder in no git work tree, and the working folder."""
    for name in [*os.environ]:
        if name.startswith(("EMBED", "MILVUS", "CREDENTIALS_DIRECTORY", "GIT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def work_tree(folder: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    git("init", "--quiet")
    return folder


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, capture_output=True)


def refusal(*arguments: str) -> str:
    result = keys(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr


def place_options(kind: str) -> tuple[str, str]:
    return {"file": ("--key-file", "key"), "entry": ("--env-file", ".env")}[kind]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- generate ---------------------------------------------------------------------------------


def test_a_key_file_holds_a_random_key_that_only_its_owner_reads(folder: Path) -> None:
    first, second = keys("generate", "--key-file", "key"), keys("generate", "--key-file", "other")
    drawn = [(folder / name).read_text() for name in ("key", "other")]

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert all(KEY.fullmatch(text.rstrip("\n")) for text in drawn)
    assert drawn[0] != drawn[1]
    assert mode(folder / "key") == 0o600
    assert drawn[0].strip() not in first.output
    assert str(folder / "key") in first.stdout


def test_an_env_file_is_created_with_the_key_alone(folder: Path) -> None:
    result = keys("generate", "--env-file", ".env")
    settings = load_settings().settings

    assert result.exit_code == 0, result.output
    assert mode(folder / ".env") == 0o600
    assert settings.server_key is not None
    key = settings.server_key.get_secret_value()
    assert (folder / ".env").read_text() == f"EMBEDDING_API_KEY={key}\n"
    assert KEY.fullmatch(key)
    assert key not in result.output


def test_other_lines_of_an_env_file_stay_byte_by_byte(folder: Path) -> None:
    write_private(".env", ENV)

    keys("generate", "--env-file", ".env")
    before, entry, after = (folder / ".env").read_text().partition("\nEMBEDDING_API_KEY=")

    assert before == ENV
    assert KEY.fullmatch(after.rstrip("\n"))
    assert entry


def test_an_empty_entry_is_filled_where_it_stands(folder: Path) -> None:
    write_private(".env", "A=1\n\nEMBEDDING_API_KEY=\nB=2\n")

    keys("generate", "--env-file", ".env")

    assert re.fullmatch(
        rf"A=1\n\nEMBEDDING_API_KEY={KEY.pattern}\nB=2\n", (folder / ".env").read_text()
    )


@pytest.mark.parametrize("kind", ["file", "entry"])
def test_a_place_that_has_a_key_is_refused_and_keeps_it(folder: Path, kind: str) -> None:
    option, name = place_options(kind)
    keys("generate", option, name)
    before = (folder / name).read_bytes()

    message = refusal("generate", option, name)

    assert f"{folder / name} holds a key already" in message
    assert "keys rotate" in message
    assert (folder / name).read_bytes() == before


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_file_is_a_place_without_a_key(folder: Path, content: str) -> None:
    (folder / "key").write_text(content)

    result = keys("generate", "--key-file", "key")

    assert result.exit_code == 0, result.output
    assert KEY.fullmatch((folder / "key").read_text().rstrip("\n"))
    assert mode(folder / "key") == 0o600


@pytest.mark.parametrize("command", ["generate", "rotate", "destroy"])
@pytest.mark.parametrize("option", ["--key-file", "--env-file"])
def test_a_folder_is_named_as_one_and_keeps_its_mode(
    folder: Path, command: str, option: str
) -> None:
    (folder / "etc").mkdir(mode=0o755)

    message = refusal(command, option, "etc")

    assert f"{folder / 'etc'} is no regular file" in message
    assert "chmod" not in message


@pytest.mark.parametrize("command", ["generate", "rotate", "destroy"])
def test_links_that_go_round_in_circles_are_refused(folder: Path, command: str) -> None:
    (folder / "key").symlink_to("key")

    assert str(folder / "key") in refusal(command, "--key-file", "key")


def test_a_byte_order_mark_is_no_part_of_a_key(folder: Path) -> None:
    (folder / "key").write_bytes(b"\xef\xbb\xbfei-key\r\n")
    (folder / "key").chmod(0o600)

    assert read_key_file(folder / "key").get_secret_value() == "ei-key"


def test_a_link_is_no_free_place(folder: Path) -> None:
    (folder / "target").write_text("mine")
    (folder / "key").symlink_to("target")

    assert "holds a key already" in refusal("generate", "--key-file", "key")
    assert (folder / "target").read_text() == "mine"


def test_an_env_file_that_others_may_read_is_refused(folder: Path) -> None:
    (folder / ".env").write_text("A=1\n")
    (folder / ".env").chmod(0o644)

    message = refusal("generate", "--env-file", ".env")

    assert "is open to others (mode 0644)" in message
    assert f"chmod 600 {folder / '.env'}" in message
    assert (folder / ".env").read_text() == "A=1\n"


@pytest.mark.parametrize("kind", ["file", "entry"])
def test_a_folder_that_others_may_write_to_is_refused(folder: Path, kind: str) -> None:
    (folder / "shared").mkdir()
    (folder / "shared").chmod(0o1777)
    option, name = place_options(kind)

    message = refusal("generate", option, f"shared/{name}")

    assert "is writable by others (mode 1777)" in message
    assert f"chmod go-w {folder / 'shared'}" in message
    assert list((folder / "shared").iterdir()) == []


@pytest.mark.parametrize(("has_others", "code"), [(True, 2), (False, 0)])
def test_a_folder_that_the_group_may_write_to_is_refused_where_it_has_other_members(
    folder: Path, monkeypatch: pytest.MonkeyPatch, has_others: bool, code: int
) -> None:
    monkeypatch.setattr(key_safety, "_has_others", lambda _: has_others)
    folder.chmod(0o770)

    assert keys("generate", "--key-file", "key").exit_code == code


def test_a_folder_that_does_not_exist_is_refused(folder: Path) -> None:
    assert "No such file" in refusal("generate", "--key-file", "nowhere/key")


@pytest.mark.parametrize("arguments", [(), ("--key-file", "key", "--env-file", ".env")])
def test_the_place_must_be_named_once(folder: Path, arguments: tuple[str, ...]) -> None:
    assert "must be named once" in refusal("generate", *arguments)


# --- git --------------------------------------------------------------------------------------


def test_an_ignored_place_in_a_work_tree_is_accepted(work_tree: Path) -> None:
    (work_tree / ".gitignore").write_text(".env\n/key\n")

    assert keys("generate", "--env-file", ".env").exit_code == 0
    assert keys("generate", "--key-file", "key").exit_code == 0


@pytest.mark.parametrize("kind", ["file", "entry"])
def test_a_place_that_git_does_not_ignore_is_refused_and_the_remedy_works(
    work_tree: Path, kind: str
) -> None:
    option, name = place_options(kind)

    message = refusal("generate", option, name)
    remedy = message.partition("Run: ")[2].partition(", or")[0]
    subprocess.run(["sh", "-c", remedy], check=True)

    assert "`git add` would take the key" in message
    assert not (work_tree / name).exists()
    assert keys("generate", option, name).exit_code == 0


def test_a_file_that_git_tracks_is_refused_although_it_is_ignored(work_tree: Path) -> None:
    write_private(".env", "A=1\n")
    git("add", ".env")
    (work_tree / ".gitignore").write_text(".env\n")

    message = refusal("generate", "--env-file", ".env")

    assert "is tracked by git" in message
    assert "git rm --cached .env" in message
    assert (work_tree / ".env").read_text() == "A=1\n"


def test_without_git_nobody_is_asked(work_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(work_tree))

    assert keys("generate", "--key-file", "key").exit_code == 0


def test_a_work_tree_that_git_does_not_read_is_refused(work_tree: Path) -> None:
    (work_tree / ".git" / "config").write_text("[core\n")

    assert "git does not read" in refusal("generate", "--key-file", "key")


# --- replacing and destroying -----------------------------------------------------------------


@pytest.fixture(params=["file", "entry"])
def place(request: pytest.FixtureRequest, folder: Path) -> KeyPlace:
    """A place that holds a key."""
    option, name = place_options(request.param)
    if request.param == "entry":
        write_private(name, ENV)
    assert keys("generate", option, name).exit_code == 0
    return KeyFile(folder / name) if request.param == "file" else EnvEntry(folder / name)


def write_private(name: str, text: str) -> None:
    Path(name).write_text(text)
    Path(name).chmod(0o600)


def test_a_key_is_replaced_in_one_step_and_nothing_is_left_beside(
    place: KeyPlace, folder: Path
) -> None:
    old, held = place.read().get_secret_value(), place.path.open("rb")

    place.replace(SecretStr("ei-new"))

    with held:
        assert old.encode() in held.read()
    assert place.read().get_secret_value() == "ei-new"
    assert mode(place.path) == 0o600
    assert [path.name for path in folder.iterdir()] == [place.path.name]


@pytest.mark.parametrize("end", ["replace", "destroy"])
def test_a_draft_that_a_kill_left_is_overwritten_and_gone(
    place: KeyPlace, folder: Path, end: str
) -> None:
    """Such a draft holds a key, and in a .env file everything else."""
    draft = folder / f".{place.path.name}.0123456789abcdef"
    others = [folder / f".{place.path.name}.other", folder / ".another.0123456789abcdef"]
    for file in (draft, *others):
        file.write_text("EMBEDDING_API_KEY=ei-left-behind\n")

    with draft.open("rb") as held:
        if end == "replace":
            place.replace(SecretStr("ei-new"))
        else:
            place.destroy()
        left = held.read()

    assert b"ei-left-behind" not in left
    assert not draft.exists()
    assert all(file.exists() for file in others)


def test_a_destroyed_key_is_overwritten_and_gone(place: KeyPlace) -> None:
    old = place.read().get_secret_value().encode()
    option = "--key-file" if isinstance(place, KeyFile) else "--env-file"

    with place.path.open("rb") as held:
        result = keys("destroy", option, str(place.path))
        left = held.read()

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"the key is gone from {place.path}\n")
    assert old not in left
    assert len(left) > len(old)
    if isinstance(place, EnvEntry):
        assert place.path.read_text().rstrip("\n") == ENV
        assert mode(place.path) == 0o600
    else:
        assert not place.path.exists()


@pytest.mark.parametrize("command", ["destroy", "rotate"])
def test_a_place_without_a_key_is_refused(folder: Path, command: str) -> None:
    write_private(".env", "A=1\n")

    assert f"{folder / '.env'} has no EMBEDDING_API_KEY" in refusal(command, "--env-file", ".env")
    assert "cannot be read" in refusal(command, "--key-file", "key")


def test_a_written_key_is_one_that_serve_accepts(folder: Path) -> None:
    keys("generate", "--key-file", "key")

    settings = load_settings(key_file=Path("key")).settings

    assert settings.server_key == read_key_file(folder / "key")
