"""Addresses: which are read, and what is said of the others."""

from pathlib import Path

import pytest

from embed_index.pipeline.storage.address import local_path, parse_storage_address, scheme_of
from embed_index.schemas.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "kind", "authority", "key"),
    [
        ("s3://bucket", "s3", "bucket", ""),
        ("S3://bucket/", "s3", "bucket", ""),
        ("s3a://bucket/a b%20?/x*.parquet", "s3", "bucket", "a b%20?/x*.parquet"),
        ("s3://bucket/a@b.parquet", "s3", "bucket", "a@b.parquet"),
        ("gs://bucket/corpus/", "gcs", "bucket", "corpus"),
        (
            "abfs://box@a.dfs.core.windows.net/c",
            "azure",
            "box@a.dfs.core.windows.net",
            "c",
        ),
        ("hdfs://name:8020/corpus", "hdfs", "name:8020", "corpus"),
        ("hdfs:///corpus", "hdfs", "", "corpus"),
    ],
)
def test_an_address_is_taken_apart_and_nothing_is_decoded(
    text: str, kind: str, authority: str, key: str
) -> None:
    address = parse_storage_address(text)

    assert (address.kind, address.authority, address.key) == (kind, authority, key)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("http://host/a.parquet", "a web server has no folders"),
        ("https://host/a.parquet", "a web server has no folders"),
        ("ftp://host/a.parquet", "ftp:// addresses are not known"),
        ("s3:///corpus", "names no bucket"),
        ("s3://AKIA:hunter2@bucket/corpus", "holds a user or key"),
        ("abfs://:hunter2@account/c", "holds a user or key"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_remedy_and_without_its_key(
    text: str, match: str
) -> None:
    with pytest.raises(ConfigurationError, match=match) as caught:
        parse_storage_address(text)

    assert caught.value.remedy
    assert "hunter2" not in str(caught.value)


def test_a_file_address_is_a_path_of_this_machine() -> None:
    assert scheme_of("FILE:///srv/a") == "file"
    assert scheme_of("/srv/a") is None
    assert local_path("file:///srv/a%20b/*.parquet") == Path("/srv/a b/*.parquet")
    assert local_path("file://localhost/srv") == Path("/srv")


@pytest.mark.parametrize("text", ["file://other/srv", "file://srv"])
def test_a_file_address_of_another_machine_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="names no absolute path of this machine"):
        local_path(text)
