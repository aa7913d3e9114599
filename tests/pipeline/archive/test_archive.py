"""Archives: what is written is read, what is not whole is refused, and nobody's files are lost."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive_samples import (
    CARRIED,
    LETTER,
    WIDTH,
    block,
    contract,
    document,
    names,
    write_archive,
)

from embed_index.pipeline.archive.files import ROW_GROUP_BYTES
from embed_index.pipeline.archive.reading import Archive
from embed_index.pipeline.archive.writing import ArchiveWriter
from embed_index.pipeline.disk.lock import RunLock
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ConfigurationError, LockHeldError

WHOLE = ["chunks-00001.parquet", "documents-00001.parquet", "letters-00001.parquet"]
SUPPORT = Path(__file__).resolve().parents[2] / "support"


def test_everything_comes_back_as_it_went(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    manifest = write_archive(folder, block(0), block(4))
    archive = Archive(folder)
    archive.check()

    (rows,) = archive.blocks(dimension=WIDTH, carried=CARRIED)

    assert names(folder) == [*WHOLE, "manifest.json"]
    assert (manifest.num_chunks, manifest.num_documents) == (8, 3)
    assert rows.fields == {
        name: [*block(0).fields[name], *block(4).fields[name]] for name in block().fields
    }
    assert np.array_equal(rows.vectors, np.concatenate([block(0).vectors, block(4).vectors]))
    assert list(archive.documents()) == [document(number) for number in range(3)]
    assert list(archive.letters()) == [LETTER]


def test_vectors_are_cut_and_brought_to_unit_length(tmp_path: Path) -> None:
    write_archive(tmp_path)
    (rows,) = Archive(tmp_path).blocks(dimension=32, carried=CARRIED)

    cut = block().vectors[:, :32]
    assert np.allclose(rows.vectors, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-7)
    assert rows.vectors.dtype == np.float32


def test_where_null_cannot_be_held_the_empty_value_stands(tmp_path: Path) -> None:
    write_archive(tmp_path)
    without_null = tuple(replace(column, nullable=False) for column in CARRIED)

    (rows,) = Archive(tmp_path).blocks(dimension=WIDTH, carried=without_null)

    second = [rows.fields[column.name][1] for column in CARRIED]
    assert second == ["", 0, 0.0, False]


def test_rows_go_into_groups_and_files_of_bounded_size(tmp_path: Path) -> None:
    wide = [block(first, 4000, dimension=WIDTH) for first in range(0, 60_000, 4000)]
    manifest = write_archive(tmp_path, *wide, file_bytes=8 << 20)

    files = [pq.ParquetFile(tmp_path / file.name) for file in manifest.of_part("chunks")]
    groups = [
        file.metadata.row_group(place).total_byte_size
        for file in files
        for place in range(file.num_row_groups)
    ]
    assert len(files) > 1
    assert sum(file.metadata.num_rows for file in files) == manifest.num_chunks == 60_000
    assert max(groups) < 1.5 * ROW_GROUP_BYTES
    assert sum(len(rows) for rows in Archive(tmp_path).blocks(dimension=64, carried=CARRIED)) == (
        60_000
    )


def test_other_programs_see_the_fields_and_the_contract(tmp_path: Path) -> None:
    write_archive(tmp_path)
    path = tmp_path / "chunks-00001.parquet"

    schema = pq.read_schema(path)
    frame = pd.read_parquet(path, dtype_backend="pyarrow")
    stored = CollectionContract.model_validate_json(schema.metadata[b"embed_index.contract"])
    matrix = np.stack(frame["embedding"].to_list())

    assert schema.field("embedding").type == pa.list_(
        pa.field("element", pa.float32(), nullable=False), WIDTH
    )
    assert list(frame.columns) == [*block().fields, "embedding"]
    assert stored.model_copy(update={"collection_id": ""}).differences(contract()) == []
    assert np.array_equal(matrix.astype(np.float32), block().vectors)
    assert frame["doc_id"].to_list() == block().fields["doc_id"]


DIES = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from archive_samples import block, write_archive
from embed_index.pipeline.archive import writing
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def write_and_die(folder, place):
    rename = Path.rename
    def rename_or_die(self, target):
        if place in self.name:
            die()
        return rename(self, target)
    if place == "chunks":
        writing.documents_to_arrow = die
    elif place == "documents":
        writing.ArchiveWriter.finish = die
    else:
        Path.rename = rename_or_die
    write_archive(folder, replace=True)
for place in sys.argv[3:]:
    for begin in ("empty", "replacing"):
        folder = Path(sys.argv[2], begin, place)
        if begin == "replacing":
            write_archive(folder, block(9))
        child = os.fork()
        if not child:
            write_and_die(folder, place)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""
PLACES = ["chunks", "documents", "chunks-00001", "letters-00001", "manifest"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What exports leave that are killed at each of the places, in one process for its imports."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", DIES, str(SUPPORT), str(folder), *PLACES], check=True)
    return folder


@pytest.mark.parametrize("place", PLACES)
def test_an_export_that_is_killed_is_no_archive_and_the_next_one_needs_no_leave(
    killed: Path, place: str
) -> None:
    folder = killed / "empty" / place

    with pytest.raises(ConfigurationError, match="its export was never finished"):
        Archive(folder)
    write_archive(folder)

    Archive(folder).check()
    assert names(folder) == [*WHOLE, "manifest.json"]


@pytest.mark.parametrize("place", PLACES)
def test_an_older_export_is_whole_until_the_new_one_is_written(killed: Path, place: str) -> None:
    folder = killed / "replacing" / place

    if place in ("chunks", "documents"):
        Archive(folder).check()
    else:
        with pytest.raises(ConfigurationError, match="its export was never finished"):
            Archive(folder)
    write_archive(folder, replace=True)

    Archive(folder).check()
    (rows,) = Archive(folder).blocks(dimension=WIDTH, carried=CARRIED)
    assert rows.fields["doc_id"][0] == "d0"
    assert names(folder) == [*WHOLE, "manifest.json"]


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        (["mine.txt"], "is not empty, and mine.txt is not of an archive"),
        (["chunks-00001.parquet"], "is not empty, and chunks-00001.parquet is not of an archive"),
        (["manifest.json"], "is damaged, or was not written by embed-index"),
        (["manifest.json", "mine.txt"], "is not empty, and mine.txt is not of an archive"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_what_is_in_a_folder_and_not_ours_stays(
    tmp_path: Path, others: list[str], reason: str
) -> None:
    for name in others:
        (tmp_path / name).write_text("{}")

    with pytest.raises(ConfigurationError, match=reason):
        write_archive(tmp_path, replace=True)

    assert names(tmp_path) == others


def test_an_archive_gives_way_only_when_told_to(tmp_path: Path) -> None:
    write_archive(tmp_path)

    with pytest.raises(ConfigurationError, match="holds an archive already"):
        write_archive(tmp_path)

    Archive(tmp_path).check()


def test_what_somebody_puts_there_meanwhile_is_not_lost(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path, contract=contract(), carried=CARRIED) as writer:
        writer.write_chunks(block())
        writer.write_documents([])
        (tmp_path / "mine.parquet").touch()
        with pytest.raises(ConfigurationError, match=r"mine\.parquet is not of an archive"):
            writer.finish(collection="c", version="c_v1", made_by="tests")

    assert names(tmp_path) == ["mine.parquet"]


def test_two_exports_do_not_write_to_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embed_index.pipeline.disk.lock._PATIENCE_SECONDS", 0.0)

    with RunLock(tmp_path / ".export.lock"), pytest.raises(LockHeldError, match="Another export"):
        write_archive(tmp_path)


def change_manifest(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def flip_bit(name: str, place: int) -> Callable[[Path], None]:
    def flip(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[place] ^= 4
        (folder / name).write_bytes(content)

    return flip


def cut_short(folder: Path) -> None:
    path = folder / WHOLE[0]
    path.write_bytes(path.read_bytes()[:-100])


def rewrite(folder: Path) -> None:
    """Do what a well-meaning person does with pandas."""
    pq.write_table(pq.read_table(folder / WHOLE[0]).slice(1), folder / WHOLE[0])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(flip_bit(WHOLE[0], 300), "chunks-00001.parquet is not what", id="page"),
        pytest.param(flip_bit(WHOLE[0], -30), "chunks-00001.parquet is not what", id="footer"),
        pytest.param(flip_bit(WHOLE[1], 40), "documents-00001.parquet is not", id="documents"),
        pytest.param(cut_short, "chunks-00001.parquet has .* bytes, and", id="short"),
        pytest.param(lambda x: (x / WHOLE[2]).unlink(), "letters-00001.* is missing", id="missing"),
        pytest.param(rewrite, "chunks-00001.parquet has .* bytes, and", id="rewritten"),
        pytest.param(change_manifest(num_chunks=5), "contradicts itself", id="number"),
        pytest.param(change_manifest(dimension=64), "contradicts itself", id="dimension"),
        pytest.param(change_manifest(carried=[]), "other columns than the manifest", id="columns"),
        pytest.param(
            change_manifest(files=3), r"manifest.json is damaged \(files\)", id="manifest"
        ),
        pytest.param(change_manifest(format="VDF"), "was not written by embed-index", id="foreign"),
        pytest.param(
            change_manifest(format_version=2, files=3),
            "archive format 2; this program knows formats up to 1",
            id="newer",
        ),
        pytest.param(
            lambda x: (x / "manifest.json").unlink(), "there is no manifest.json", id="bare"
        ),
    ],
)
def test_a_damaged_foreign_or_newer_archive_is_refused_by_name(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    write_archive(tmp_path)
    damage(tmp_path)

    with pytest.raises(ConfigurationError, match=reason):
        Archive(tmp_path).check()


def test_no_bit_that_turns_after_the_check_gives_another_row(tmp_path: Path) -> None:
    write_archive(tmp_path)
    archive = Archive(tmp_path)
    archive.check()
    (good,) = archive.blocks(dimension=WIDTH, carried=CARRIED)
    path = tmp_path / WHOLE[0]
    content = path.read_bytes()
    num_noticed = 0

    for place in range(0, len(content), 31):
        flip_bit(WHOLE[0], place)(tmp_path)
        read = None
        with suppress(ConfigurationError):
            (read,) = archive.blocks(dimension=WIDTH, carried=CARRIED)
        num_noticed += read is None
        assert read is None or read.fields == good.fields
        assert read is None or np.array_equal(read.vectors, good.vectors)
        path.write_bytes(content)

    # Others turn what no reader looks at, such as statistics.
    assert num_noticed > len(content) // 31 // 2
