"""Fixtures for files in object stores."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from object_store import KEY_ID, SECRET, ObjectStore, running_store


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """A server with S3's interface, for the whole session."""
    with running_store() as store:
        yield store


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Planted credentials in the environment, and none anywhere else."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))


@pytest.fixture
def bucket(object_store: ObjectStore, s3_credentials: None) -> str:
    """An empty bucket of the test's own."""
    name = f"bucket-{uuid4().hex}"
    object_store.make_bucket(name)
    return name
