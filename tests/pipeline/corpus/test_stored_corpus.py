"""A corpus in an object store is the corpus that it is on a disk."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_store import HURRIED, KEY_ID, SECRET, Asked, Fault, ObjectStore, faulty_proxy

from embed_index.pipeline.corpus.listing import list_corpus
from embed_index.pipeline.corpus.parquet import ParquetSource
from embed_index.pipeline.storage.store import Storage
from embed_index.pipeline.storage.systems import S3Access
from embed_index.schemas.errors import ConfigurationError, UnavailableError


def storage_at(url: str) -> Storage:
    return Storage(S3Access(endpoint=url), patience=HURRIED)


def write(file: Path, *, first: int = 0, num_rows: int = 100, text: str = "text") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    numbers = range(first, first + num_rows)
    table = pa.table(
        {
            "id": [f"d{number}" for number in numbers],
            "text": [f"{text} {number} {_noise(number)}" for number in numbers],
            "lang": ["de" if number % 3 else None for number in numbers],
        }
    )
    pq.write_table(table, file, row_group_size=30)


def _noise(number: int) -> str:
    """Letters that do not compress, so that a file is several ranges."""
    return hashlib.shake_128(str(number).encode()).hexdigest(2000)


def rows_of(source: ParquetSource) -> list[tuple[object, ...]]:
    return [
        (d.doc_id, d.text, d.carried, d.source.row_group, d.source.row)
        for rows in source.read()
        for d in map(rows.document, range(len(rows)))
    ]


def opened(*inputs: object, storage: Storage | None = None) -> ParquetSource:
    return ParquetSource(
        [str(text) for text in inputs],
        id_column="id",
        text_columns=["text"],
        carry=["lang"],
        storage=storage,
    )


def test_its_rows_are_those_of_the_disk_and_its_sources_are_addresses(
    tmp_path: Path, object_store: ObjectStore, bucket: str
) -> None:
    write(tmp_path / "corpus" / "one.parquet")
    write(tmp_path / "corpus" / "sub" / "two ü%20.parquet", first=100)
    object_store.put_tree(bucket, tmp_path / "corpus", under="c")
    stored = opened(f"s3://{bucket}/c", storage=storage_at(object_store.url))

    assert rows_of(stored) == rows_of(opened(tmp_path / "corpus"))
    sources = [source for rows in stored.read() for source in rows.sources()]
    assert sources[0] == f"s3://{bucket}/c/one.parquet#0:0"
    assert sources[-1] == f"s3://{bucket}/c/sub/two ü%20.parquet#3:9"


@pytest.mark.parametrize("kind", ["stall", "reset", "cut", "503"])
def test_faults_are_ridden_out(
    tmp_path: Path, object_store: ObjectStore, bucket: str, kind: Fault
) -> None:
    write(tmp_path / "corpus" / "one.parquet")
    object_store.put_tree(bucket, tmp_path / "corpus", under="c")
    seen: set[Asked] = set()

    def the_first_time(asked: Asked) -> Fault | None:
        if asked in seen or (kind == "stall" and not (asked.is_read or asked.is_listing)):
            return None
        seen.add(asked)
        return kind

    with faulty_proxy(object_store, the_first_time) as proxy:
        rows = rows_of(opened(f"s3://{bucket}/c", storage=storage_at(proxy.url)))

    assert rows == rows_of(opened(tmp_path / "corpus"))
    assert proxy.done[kind] >= 3


@pytest.mark.parametrize(
    "pattern",
    ["", "/", "/*", "/*.parquet", "/**/*.parquet", "/lang=*", "/?.PARQUET", "/sub/one.parquet"],
)
def test_folders_and_patterns_find_what_they_find_on_a_disk(
    tmp_path: Path, object_store: ObjectStore, bucket: str, pattern: str
) -> None:
    names = [
        "a.parquet",
        "U.PARQUET",
        "lang=de/a.parquet",
        "sub/one.parquet",
        "x.parquet/p.parquet",
    ]
    hidden = ["_SUCCESS", "_temporary/a.parquet", ".part-0.parquet.crc", "sub/_a.parquet", "a.txt"]
    hidden += ["b.parq", "sub/part-00000"]
    for name in (*names, *hidden):
        file = tmp_path / "corpus" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        object_store.put(bucket, f"c/{name}", b"")
    object_store.put(bucket, "c/sub/", b"")

    stored = list_corpus([f"s3://{bucket}/c{pattern}"], storage=storage_at(object_store.url))
    local = list_corpus([f"{tmp_path}/corpus{pattern}"])

    top = f"s3://{bucket}/c/"
    assert [name.removeprefix(top) for name in stored.names] == [
        str(file).removeprefix(f"{tmp_path}/corpus/") for file in local.files
    ]
    assert [node.name for node in stored.ignored] == [node.name for node in local.ignored]
    assert [node.name for node in stored.unlike] == [node.name for node in local.unlike]


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        ("_delta_log/00000.json", "Delta"),
        (".hoodie/hoodie.properties", "Hudi"),
        ("metadata/v1.metadata.json", "Iceberg"),
    ],
)
@pytest.mark.parametrize("named", ["table", "table/day=1", "table/*/a.parquet", ""])
def test_a_table_with_files_of_dead_rows_is_refused(
    object_store: ObjectStore, bucket: str, log: str, kind: str, named: str
) -> None:
    object_store.put(bucket, f"table/{log}", b"{}")
    object_store.put(bucket, "table/day=1/a.parquet", b"")

    with pytest.raises(ConfigurationError, match=f"table is a table in {kind} format"):
        list_corpus([f"s3://{bucket}/{named}"], storage=storage_at(object_store.url))


@pytest.mark.parametrize(
    ("key", "match"),
    [("nothing", "does not exist"), ("no*.parquet", "matches no file"), ("", "holds no")],
)
def test_a_corpus_without_files_is_refused(
    object_store: ObjectStore, bucket: str, key: str, match: str
) -> None:
    with pytest.raises(ConfigurationError, match=match):
        list_corpus([f"s3://{bucket}/{key}"], storage=storage_at(object_store.url))


@pytest.mark.parametrize("key", ["", "c", "c/*.parquet", "c/one.parquet"])
def test_a_missing_bucket_is_named_at_once(
    object_store: ObjectStore, s3_credentials: None, key: str
) -> None:
    with pytest.raises(ConfigurationError, match="bucket") as caught:
        list_corpus([f"s3://no-such-bucket/{key}"], storage=storage_at(object_store.url))
    assert "s3://no-such-bucket" in caught.value.message


def test_a_key_with_an_empty_part_is_named_rather_than_skipped(
    object_store: ObjectStore, bucket: str
) -> None:
    object_store.put(bucket, "c/one.parquet", b"")
    object_store.put(bucket, "c//two.parquet", b"")

    with pytest.raises(ConfigurationError, match="c// has keys with an empty part"):
        list_corpus([f"s3://{bucket}/c"], storage=storage_at(object_store.url))


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("403", "may not be read with these credentials"),
        ("301", "is in a bucket of another region"),
        ("skew", "finds this machine's clock wrong"),
        ("unknown key", "does not know these credentials"),
    ],
)
def test_a_place_that_may_not_be_listed_is_named_at_once_without_a_key(
    tmp_path: Path, object_store: ObjectStore, bucket: str, kind: Fault, match: str
) -> None:
    object_store.put(bucket, "c/one.parquet", b"")

    with (
        faulty_proxy(object_store, lambda asked: kind if asked.is_listing else None) as proxy,
        pytest.raises((ConfigurationError, UnavailableError), match=match) as caught,
    ):
        list_corpus([f"s3://{bucket}/c"], storage=storage_at(proxy.url))
    assert caught.value.remedy
    assert proxy.done[kind] == 1
    assert not [text for text in (KEY_ID, SECRET) if text in str(caught.value)]


def test_a_folder_below_that_may_not_be_listed_ends_the_search(
    object_store: ObjectStore, bucket: str
) -> None:
    for key in ("c/one.parquet", "c/closed/two.parquet"):
        object_store.put(bucket, key, b"")

    with (
        faulty_proxy(object_store, lambda x: "403" if "closed%2F" in x.target else None) as proxy,
        pytest.raises(ConfigurationError, match="c/closed may not be read"),
    ):
        list_corpus([f"s3://{bucket}/c"], storage=storage_at(proxy.url))


def test_rights_may_begin_below_the_top(
    tmp_path: Path, object_store: ObjectStore, bucket: str
) -> None:
    write(tmp_path / "corpus" / "one.parquet")
    object_store.put_tree(bucket, tmp_path / "corpus", under="a/b")

    def only_below(asked: Asked) -> Fault | None:
        return None if "a/b" in asked.target or "a%2Fb" in asked.target else "403"

    with faulty_proxy(object_store, only_below) as proxy:
        for text in ("a/b", "a/b/*.parquet", "a/b/one.parquet"):
            assert opened(f"s3://{bucket}/{text}", storage=storage_at(proxy.url)).num_rows == 100


@pytest.mark.parametrize("now", ["other", "gone", "shorter"])
@pytest.mark.parametrize("kind", [None, "reset"])
def test_a_file_that_is_replaced_while_it_is_read_is_named(
    tmp_path: Path, object_store: ObjectStore, bucket: str, now: str, kind: Fault | None
) -> None:
    write(tmp_path / "corpus" / "one.parquet")
    object_store.put_tree(bucket, tmp_path / "corpus", under="c")
    write(tmp_path / "other.parquet", text="TEXT", num_rows=1 if now == "shorter" else 100)
    num_reads = 0

    def replacing(asked: Asked) -> Fault | None:
        nonlocal num_reads
        num_reads += asked.is_read
        # The footer is read once when the corpus is opened, and once when it is read.
        if not asked.is_read or num_reads != 3:
            return None
        if now == "gone":
            object_store.delete(bucket, "c/one.parquet")
        else:
            object_store.put(bucket, "c/one.parquet", (tmp_path / "other.parquet").read_bytes())
        return kind

    with faulty_proxy(object_store, replacing) as proxy:
        source = opened(f"s3://{bucket}/c", storage=storage_at(proxy.url))
        with pytest.raises(UnavailableError, match=r"one\.parquet was changed or taken away"):
            list(source.read())
    assert num_reads >= 3


def test_partitions_are_columns(tmp_path: Path, object_store: ObjectStore, bucket: str) -> None:
    pq.write_table(pa.table({"id": ["a"], "text": ["one"]}), tmp_path / "x.parquet")
    object_store.put(bucket, "c/lang=de%20AT/x.parquet", (tmp_path / "x.parquet").read_bytes())
    source = opened(f"s3://{bucket}/c", storage=storage_at(object_store.url))

    (rows,) = source.read()

    assert rows.carried == [("de AT",)]


def test_a_stopped_source_waits_for_nothing(
    tmp_path: Path, object_store: ObjectStore, bucket: str
) -> None:
    write(tmp_path / "corpus" / "one.parquet")
    object_store.put_tree(bucket, tmp_path / "corpus", under="c")
    num_reads = 0

    def all_but_the_footer(asked: Asked) -> Fault | None:
        nonlocal num_reads
        num_reads += asked.is_read
        return "503" if num_reads > 1 else None

    with faulty_proxy(object_store, all_but_the_footer) as proxy:
        source = opened(f"s3://{bucket}/c", storage=storage_at(proxy.url))
        source.stop_waiting()
        with pytest.raises(UnavailableError, match="reading was stopped"):
            list(source.read())
