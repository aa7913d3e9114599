"""The architecture's rules, read from the source: floors, doors, and what the wheel holds."""

import ast
import re
import shutil
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from wheel import build_wheel

LAYERS = ("schemas", "pipeline", "jobs")

FLOORS = (
    ("schemas",),
    (
        "pipeline/disk",
        "pipeline/model",
        "pipeline/report",
        "pipeline/secrecy",
        "pipeline/storage",
    ),
    ("pipeline/corpus", "pipeline/embedding", "pipeline/ledger", "pipeline/milvus"),
    ("pipeline/server", "pipeline/stages", "pipeline/versions"),
    (
        "pipeline/archive",
        "pipeline/audit",
        "pipeline/host",
        "pipeline/library",
        "pipeline/planning",
        "pipeline/indexing.py",
    ),
    ("pipeline/cluster", "pipeline/evaluation", "pipeline/settling.py"),
    ("jobs/cli",),
    ("jobs/settings",),
    ("jobs/deployment", "jobs/main.py"),
    ("jobs/adapters",),
    (
        *("jobs/collections", "jobs/cutting", "jobs/examination", "jobs/planning"),
        *("jobs/precision", "jobs/serving"),
    ),
    ("jobs/evaluation",),
    ("jobs/runs",),
    ("jobs/reporting",),
    ("jobs/commands",),
)
"""From the ground up; a room may use what stands below it, and nothing beside it."""

PRIVATE = {
    "pipeline/corpus": {
        *("carried_layout", "casts", "conditions", "conversion", "nodes", "paths", "row_checks"),
        *("text_column", "walk"),
    },
    "pipeline/cluster": {"aside", "connection", "order", "pool", "remote", "seat", "worker"},
    "pipeline/embedding": {"description", "wire"},
    "pipeline/ledger": {"file"},
    "pipeline/library": {"loop"},
    "pipeline/milvus": {"connection", "lite", "schema", "sdk"},
    "pipeline/storage": {"faults", "ranges"},
    "jobs/deployment": {"template"},
    "pipeline/server": {"child", "cpu_platform", "gate", "process_group", "suspects"},
}
"""Modules that only their own room imports."""

HEAVY = {"pipeline/server/child", "pipeline/server/cpu_platform"}
"""Modules of the server's own process, which alone import torch and SGLang."""


DOOR = ("__init__.py", "py.typed")
"""What the package holds beside its layers: its own door, and that it is typed."""


def modules(root: Path) -> Iterator[Path]:
    """Every module of the package's layers, relative to the tree."""
    for layer in LAYERS:
        for file in sorted((root / layer).rglob("*.py")):
            yield file.relative_to(root)


def files(root: Path) -> Iterator[Path]:
    """Every file of the package, texts too, relative to the tree."""
    yield from map(Path, DOOR)
    for layer in LAYERS:
        for file in sorted((root / layer).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file.relative_to(root)


def imported(file: Path) -> set[str]:
    """Dotted names of the modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imports(root: Path) -> Mapping[str, set[str]]:
    """Which modules of ours each one imports; a module is named by its path without `.py`."""
    names = {str(module.with_suffix("")) for module in modules(root)}
    graph: dict[str, set[str]] = {}
    for module in modules(root):
        paths = {
            name.removeprefix("embed_index.").replace(".", "/")
            for name in imported(root / module)
            if name.startswith("embed_index.")
        }
        graph[str(module.with_suffix(""))] = {
            path if path in names else str(Path(path).parent) for path in paths
        }
    return graph


def room_of(module: str) -> str:
    """The folder of a module, or for the pages at the top of a layer the file itself."""
    folder = str(Path(module).parent)
    return f"{module}.py" if folder in ("pipeline", "jobs") else folder


def violations(root: Path) -> list[str]:
    """Everything in a tree that breaks a rule, in words."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    graph = {
        module: used for module, used in imports(root).items() if Path(module).name != "__init__"
    }
    found = [f"{module} stands in no room" for module in graph if room_of(module) not in floor]
    if found:
        return found
    for module, used in graph.items():
        room = room_of(module)
        for other in used:
            other_room = room_of(other)
            if other_room == room:
                continue
            if floor[other_room] >= floor[room]:
                found.append(f"{module} must not import {other}")
            if Path(other).name in PRIVATE.get(other_room, ()):
                found.append(f"{module} imports {other}, which is private to its room")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append("cycle: " + " -> ".join(error.args[1]))
    return found


def test_imports_go_down_and_through_the_doors(repository: Path) -> None:
    assert violations(repository) == []


def test_the_architecture_page_shows_the_floors(repository: Path) -> None:
    page = (repository / "pipeline" / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| (\d+) \| `([\w/.]+)` \| .+ \|$", page, re.MULTILINE)
    floors = [(str(number), room) for number, rooms in enumerate(FLOORS, 1) for room in rooms]

    assert sorted(shown) == sorted(floors)


def test_every_private_module_exists(repository: Path) -> None:
    for room, names in PRIVATE.items():
        for name in names:
            assert (repository / room / f"{name}.py").is_file()


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        pytest.param(
            "pipeline/corpus/planted.py",
            "from embed_index.pipeline.milvus.store import MilvusStore\n",
            "pipeline/corpus/planted must not import pipeline/milvus/store",
            id="upward",
        ),
        pytest.param(
            "pipeline/ledger/planted.py",
            "def late() -> None:\n    import embed_index.pipeline.milvus.store\n",
            "pipeline/ledger/planted must not import pipeline/milvus/store",
            id="sideways and late",
        ),
        pytest.param(
            "pipeline/stages/planted.py",
            "from embed_index.pipeline.milvus import sdk\n",
            "pipeline/stages/planted imports pipeline/milvus/sdk, which is private to its room",
            id="past the door",
        ),
        pytest.param("pipeline/planted.py", "", "pipeline/planted stands in no room", id="stray"),
        pytest.param(
            "jobs/tools/planted.py", "", "jobs/tools/planted stands in no room", id="unknown room"
        ),
    ],
)
def test_a_planted_violation_is_found(
    repository: Path, tmp_path: Path, file: str, text: str, complaint: str
) -> None:
    for layer in LAYERS:
        shutil.copytree(repository / layer, tmp_path / layer)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)

    assert violations(tmp_path) == [complaint]


def test_a_planted_cycle_is_found(repository: Path, tmp_path: Path) -> None:
    for layer in LAYERS:
        shutil.copytree(repository / layer, tmp_path / layer)
    for one, other in (("ping", "pong"), ("pong", "ping")):
        text = f"import embed_index.pipeline.stages.{other}\n"
        (tmp_path / "pipeline" / "stages" / f"{one}.py").write_text(text)

    (complaint,) = violations(tmp_path)

    assert complaint.startswith("cycle: ")
    assert "pipeline/stages/ping" in complaint


def test_no_module_uses_the_folders_bare_names(repository: Path) -> None:
    for module in modules(repository):
        for name in imported(repository / module):
            assert name.split(".")[0] not in LAYERS, f"{module} imports {name}"


def test_only_the_servers_own_process_imports_torch_or_sglang(repository: Path) -> None:
    for module in modules(repository):
        heavy = {name.split(".")[0] for name in imported(repository / module)}
        heavy &= {"torch", "sglang"}
        assert not heavy or str(module.with_suffix("")) in HEAVY, f"{module} imports {heavy}"


def test_every_room_says_what_it_is_for(repository: Path) -> None:
    for room in (repository / layer for layer in LAYERS):
        for file in room.rglob("__init__.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            assert ast.get_docstring(tree), f"{file} has no docstring"
            assert len(tree.body) == 1, f"{file} holds more than its docstring"


def test_every_room_is_listed_for_the_wheel(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    listed = project["tool"]["setuptools"]["packages"]

    rooms = [
        ".".join(("embed_index", *file.parent.parts))
        for file in modules(repository)
        if file.name == "__init__.py"
    ]
    assert sorted(listed) == sorted(["embed_index", *rooms])


def test_the_wheel_holds_every_file(repository: Path, tmp_path: Path) -> None:
    wheel = build_wheel(repository, tmp_path)
    packed = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}

    pages = {"pipeline/README.md"}
    assert packed == {f"embed_index/{file}" for file in files(repository) if str(file) not in pages}
    assert "embed_index/jobs/deployment/templates/nginx.conf" in packed
