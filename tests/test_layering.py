"""The architecture's rules, read from the source."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

LAYERS = ("schemas", "pipeline", "jobs")


def imported_modules(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_from_jobs_to_pipeline_to_schemas(repository: Path, layer: str) -> None:
    above = LAYERS[LAYERS.index(layer) + 1 :]
    files = list((repository / layer).rglob("*.py"))
    assert files
    for file in files:
        for name in imported_modules(file):
            part = name.split(".")
            assert part[0] not in LAYERS, f"{file.name} imports {name} by its bare name"
            assert not (part[0] == "embed_index" and part[1] in above), f"{file.name}: {name}"


def test_only_the_server_child_imports_torch_or_sglang(repository: Path) -> None:
    allowed = {("server", "child.py"), ("server", "cpu_platform.py")}
    for layer in LAYERS:
        for file in (repository / layer).rglob("*.py"):
            heavy = {name.split(".")[0] for name in imported_modules(file)} & {"torch", "sglang"}
            assert not heavy or (file.parent.name, file.name) in allowed, (
                f"{file.name} imports {heavy}"
            )


def test_every_room_is_listed_for_the_wheel(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    listed = project["tool"]["setuptools"]["packages"]

    assert sorted(listed) == sorted(
        ".".join(("embed_index", *file.parent.relative_to(repository).parts))
        for layer in LAYERS
        for file in (repository / layer).rglob("__init__.py")
    )


def test_the_wheel_holds_every_module(repository: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in (*LAYERS, "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(repository / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(tmp_path), str(source)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    packed = {n for n in zipfile.ZipFile(wheel).namelist() if n.endswith(".py")}

    assert packed == {
        f"embed_index/{file.relative_to(repository)}"
        for layer in LAYERS
        for file in (repository / layer).rglob("*.py")
    }
