"""embed-index as its users install it."""

import subprocess
import sys
from pathlib import Path

SOURCES = ("jobs", "pipeline", "schemas", "__init__.py", "py.typed")


def build_wheel(repository: Path, folder: Path) -> Path:
    """Build the wheel in a folder, from links, so that nothing is left in the repository."""
    source = folder / "source"
    source.mkdir()
    for name in (*SOURCES, "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(repository / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(folder), str(source)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    return wheel
