"""A full disk ends a run with a message; with room again, the next run finishes the work."""

import gc
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from job_fixtures import JobFolder, hashes_of

from embed_index.jobs.adapters.places import dead_letter_folder

# A database that failed is left as it is, its log still open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

DOCUMENTS = {f"d{n}": f"Text number {n} of many. " * (5 + n % 30) for n in range(100)}
MANY = ("--max-dead-letters", "5")

Mount = Callable[..., None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Put a file system of a few KiB on a folder; a second time gives it another size."""
    mounted: list[Path] = []

    def mount_on(folder: Path, *, kib: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        again = "remount," if folder in mounted else ""
        options = f"{again}size={kib}k"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
        )
        if done.returncode:
            pytest.skip("file systems may not be mounted here")
        mounted.append(folder)

    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount file systems")
    yield mount_on
    # What a failed database left open is found here, and not in a later test.
    gc.collect()
    for folder in dict.fromkeys(reversed(mounted)):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def finish(job: JobFolder) -> None:
    job.run(*MANY)
    assert job.doc_hashes("v1") == hashes_of(DOCUMENTS)
    same_job = job.arguments()[1:]
    job.call("verify", job.collection, "--sample", "0", *same_job[:2], *same_job[4:])


@pytest.mark.parametrize("kib", [4, 60, 200])
def test_a_full_state_folder_ends_a_run_resumably(
    lite_job: JobFolder, mount: Mount, kib: int
) -> None:
    lite_job.write({**DOCUMENTS, "bad": None})
    mount(lite_job.state, kib=kib)
    if kib == 4:
        (lite_job.state / "filler").write_bytes(bytes(4096))

    failed = lite_job.run(*MANY, expect=4)

    assert str(lite_job.state) in failed.stderr
    assert "free space" in failed.stderr
    mount(lite_job.state, kib=8192)
    finish(lite_job)


def test_dead_letters_that_cannot_be_written_end_a_run_resumably(
    lite_job: JobFolder, mount: Mount
) -> None:
    lite_job.write({**DOCUMENTS, "bad": None})
    folder = dead_letter_folder(lite_job.settings, lite_job.collection)
    mount(folder, kib=4)
    (folder / "filler").write_bytes(bytes(4096))

    failed = lite_job.run(*MANY, expect=4)

    assert f"{folder}" in failed.stderr
    assert "the dead letters cannot be written (No space left on device)" in failed.stderr
    assert lite_job.history()[0]["exit_code"] == 4
    (folder / "filler").unlink()
    finish(lite_job)


@pytest.mark.parametrize("kib", [100, 250])
def test_a_full_milvus_lite_ends_a_run_resumably(
    lite_job: JobFolder, mount: Mount, kib: int
) -> None:
    lite_job.write({**DOCUMENTS, "bad": None})
    folder = lite_job.folder / "milvus"
    lite_job.uri = str(folder / "store.db")
    mount(folder, kib=kib)

    failed = lite_job.run(*MANY, expect=4)

    assert "No space left on device" in failed.stderr
    assert "free space" in failed.stderr
    mount(folder, kib=50_000)
    finish(lite_job)


def test_a_file_in_place_of_the_dead_letters_folder_is_named(lite_job: JobFolder) -> None:
    lite_job.write({**DOCUMENTS, "bad": None})
    lite_job.state.mkdir()
    (lite_job.state / "dead-letters").write_text("")

    failed = lite_job.run(*MANY, expect=2)

    assert "the dead letters cannot be written (Not a directory)" in failed.stderr
