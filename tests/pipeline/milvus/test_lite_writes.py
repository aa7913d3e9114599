"""What Milvus Lite acknowledged is there after a power cut and after a full disk."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import milvus_lite.engine.flush
import pytest
from milvus_fixtures import make_batch, make_contract

from embed_index.pipeline.milvus.store import open_store
from embed_index.schemas.errors import ConfigurationError, StoreError


class Disk:
    """Holds a file as it was when it was last brought to the disk, and nothing else."""

    def __init__(self, folder: Path, *, mirror: Path, fsync: Callable[[int], None]) -> None:
        self._folder = folder
        self._mirror = mirror
        self._fsync = fsync

    def fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_file() and path.is_relative_to(self._folder):
            target = self._mirror / path.relative_to(self._folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)

    def documents(self, version: str, *, copy: Path) -> set[str]:
        """Return the documents that are found after a power cut at this moment."""
        shutil.copytree(self._mirror, copy)
        with open_store(str(copy)) as store:
            store.versions.load(version)
            return {key.doc_id for key in store.reader.iter_keys(version)}


def test_what_was_acknowledged_outlives_a_power_cut(
    tmp_path: Path, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path / "a.db", mirror=tmp_path / "disk.db", fsync=os.fsync)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    with open_store(str(tmp_path / "a.db")) as store:
        version = store.versions.create(alias, contract=make_contract())
        first = make_batch(["x", "y"], doc_id="first")
        store.upsert(version, first)
        after_upsert = disk.documents(version, copy=tmp_path / "1.db")
        store.flush(version)
        store.upsert(version, make_batch(["z"], doc_id="second"))
        after_flush = disk.documents(version, copy=tmp_path / "2.db")
        store.delete_chunks(version, [chunk.chunk_id for chunk in first.chunks])
        after_deletion = disk.documents(version, copy=tmp_path / "3.db")

    assert (after_upsert, after_flush, after_deletion) == (
        {"first"},
        {"first", "second"},
        {"second"},
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_is_written_after_a_write_that_failed(
    tmp_path: Path, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_is_full(*_: object) -> str:
        monkeypatch.undo()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = open_store(str(tmp_path / "a.db"))
    version = store.versions.create(alias, contract=make_contract())
    batch = make_batch(["x", "y"], doc_id="kept")
    store.upsert(version, batch)
    monkeypatch.setattr(milvus_lite.engine.flush, "write_data_file", disk_is_full)
    with pytest.raises(StoreError, match="No space left on device") as failed:
        store.flush(version)
    with pytest.raises(StoreError, match="No space left on device"):
        store.delete_chunks(version, [batch.chunks[0].chunk_id])
    store.close()

    assert "free space" in failed.value.remedy
    with open_store(str(tmp_path / "a.db")) as opened:
        opened.versions.load(version)
        assert opened.reader.count(version) == 2
        assert opened.upsert(version, make_batch(["z"], doc_id="later")) == 1


def test_its_socket_may_stand_in_a_folder_of_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    with open_store(str(tmp_path / "a.db")) as opened:
        assert opened.versions.list("none") == []
    assert list(folder.iterdir()) == []


def test_a_folder_for_its_socket_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    with pytest.raises(ConfigurationError, match="socket") as raised:
        open_store(str(tmp_path / "a.db"))
    monkeypatch.undo()

    assert "TMPDIR" in raised.value.remedy
    open_store(str(tmp_path / "a.db")).close()
