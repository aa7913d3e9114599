"""The locks: what `make demo` installs, what the tests add to it, and what Ray adds to those."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("requirements-cpu.lock", "requirements-test.lock", "requirements-ray.lock")


def pins(*files: Path) -> dict[str, str]:
    """Version by canonical name of everything that locks pin."""
    lines = [line for file in files for line in file.read_text().splitlines() if line[0] != "#"]
    names_and_versions = [line.split("==") for line in lines]
    pinned: dict[str, str] = {
        canonicalize_name(name): version for name, version in names_and_versions
    }
    assert len(pinned) == len(lines), "pinned twice"
    return pinned


def written(repository: Path) -> tuple[list[str], list[str], list[str]]:
    """What is asked for by name: to run, to test, and for a cluster."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    sglang = (repository / "requirements-cpu.in").read_text().splitlines()
    run = project["dependencies"] + [line for line in sglang if not line.startswith("#")]
    extras = project["optional-dependencies"]
    return run, extras["test"], extras["ray"]


def closure(lines: Iterable[str], *, bare: set[str]) -> Iterator[Requirement]:
    """Every requirement, and what each one outside of `bare` requires in turn."""
    pending, seen = [Requirement(line) for line in lines], set[str]()
    while pending:
        requirement = pending.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        yield requirement
        if requirement.name in bare:
            continue
        for line in distribution(requirement.name).requires or ():
            needed = Requirement(line)
            extras = requirement.extras or {""}
            if not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras):
                pending.append(needed)


@pytest.mark.parametrize("num_locks", [1, 2, pytest.param(3, marks=pytest.mark.ray)])
def test_a_lock_pins_all_that_is_asked_for_and_whatever_that_needs(
    repository: Path, num_locks: int
) -> None:
    makefile = (repository / "Makefile").read_text()
    (no_deps,) = re.findall(r"^NO_DEPS := (.+)$", makefile, re.MULTILINE)
    asked = [line for lines in written(repository)[:num_locks] for line in lines]
    pinned = pins(*(repository / lock for lock in LOCKS[:num_locks]))
    pinned["torch"] = re.findall(r"^TORCH_VERSION := (.+)$", makefile, re.MULTILINE)[0]
    bare = {pin.split("==")[0] for pin in no_deps.split()}

    for requirement in closure((*asked, *no_deps.split()), bare=bare):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{requirement} is in no lock"
        assert requirement.specifier.contains(pinned[name], prereleases=True), requirement


def test_no_package_of_the_tests_is_in_the_lock_that_make_demo_installs(repository: Path) -> None:
    run, test, _ = written(repository)
    asked = {canonicalize_name(Requirement(line).name) for line in run}
    only_tests = {canonicalize_name(Requirement(line).name) for line in test} - asked
    runtime = pins(repository / LOCKS[0])

    assert only_tests.isdisjoint(runtime)
