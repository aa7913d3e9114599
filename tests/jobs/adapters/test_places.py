"""Names of state files: one for each Milvus, database and collection, however these are spelled."""

from pathlib import Path

import pytest
from job_fixtures import JobFolder

from embed_index.jobs.adapters.places import ledger_path, milvus_place, place_name
from embed_index.schemas.names import MAX_COLLECTION_NAME
from embed_index.schemas.settings import JobSettings

SERVER = "http://milvus.example.org:19530"


def settings(uri: str, *, db: str = "", state: Path = Path("/srv/state")) -> JobSettings:
    return JobSettings(milvus_uri=uri, milvus_db=db, state_dir=state)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (settings(SERVER), settings("http://milvus.example.org")),
        (settings(SERVER), settings("http://MILVUS.Example.org.:19530/")),
        (settings(SERVER), settings("https://milvus.example.org:19530")),
        (settings(SERVER), settings(SERVER, db="default")),
        (settings(SERVER, db="news"), settings(f"{SERVER}/news")),
        (settings("http://127.0.0.1:19530"), settings("http://localhost:19530")),
        (settings("http://[::1]:19530"), settings("http://localhost:19530")),
        (settings("http://[2001:db8::1]"), settings("http://[2001:DB8:0:0:0:0:0:1]:19530")),
        (settings("/srv/state/a.db"), settings("/srv/state/../state/a.db")),
        (settings("/srv/state/a.db"), settings("/mnt/moved/a.db", state=Path("/mnt/moved"))),
    ],
)
def test_one_place_has_one_name(one: JobSettings, other: JobSettings) -> None:
    assert place_name(one, "articles") == place_name(other, "articles")


def test_a_path_of_milvus_lite_may_be_relative_or_lead_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    state = Path("disk/state")
    spelled = ["disk/a.db", "./link/a.db", "link/../disk/a.db"]

    names = {place_name(settings(uri, state=state), "articles") for uri in spelled}

    assert names == {place_name(settings(str(tmp_path / "disk/a.db"), state=state), "articles")}


@pytest.mark.parametrize(
    "other",
    [
        settings("http://milvus.example.org:19531"),
        settings("http://milvus-2.example.org:19530"),
        settings("https://milvus.example.org"),
        settings(SERVER, db="news"),
        settings("http://127.0.0.2:19530"),
        settings("/srv/state/a.db"),
        settings("/srv/b/a.db"),
        settings("/srv/b/a.db", db="news"),
    ],
)
def test_another_place_has_another_name(other: JobSettings) -> None:
    names = {place_name(settings(SERVER), "articles"), place_name(settings("/b.db"), "articles")}

    assert place_name(other, "articles") not in names
    assert place_name(other, "articles_2") != place_name(other, "articles")


def test_a_name_can_be_read_and_is_never_too_long() -> None:
    assert place_name(settings(SERVER), "articles").startswith("articles@milvus.example.org-19530-")
    assert place_name(settings("/x/milvus.db"), "articles").startswith("articles@milvus.db-")
    long = settings(f"http://{'h' * 60}.{'é' * 50}.org", db="d" * 300)
    name = ledger_path(long, "c" * MAX_COLLECTION_NAME).name
    assert name.isascii()
    assert len(f"{name}-wal") <= 255


def test_what_may_be_secret_is_in_no_name() -> None:
    asked = settings(f"{SERVER}/news?token=sk-secret#sk-secret")

    assert "secret" not in milvus_place(asked) + place_name(asked, "articles")
    assert milvus_place(asked) == "milvus.example.org:19530/news"


@pytest.mark.parametrize("command", ["describe", "gc", "search"])
def test_a_path_without_milvus_lite_is_said_and_stays_empty(
    lite_job: JobFolder, command: str
) -> None:
    more = {"gc": ("--keep", "1"), "search": ("pumps",)}.get(command, ())
    where = ("--milvus-uri", lite_job.uri)

    done = lite_job.call(command, lite_job.collection, *more, *where, expect=2)

    assert f"for no Milvus Lite is at {lite_job.uri}" in done.stderr
    assert not Path(lite_job.uri).exists()
