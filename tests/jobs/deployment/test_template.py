"""Texts with fields, and the paths that fill them."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from embed_index.jobs.deployment.deployment import absolute
from embed_index.jobs.deployment.template import fill
from embed_index.jobs.main import cli


@pytest.mark.parametrize(
    "values",
    [{"unit": "u", "at": "02:30"}, {"unit": "u", "at": "02:30", "collection": "c", "x": 1}],
)
def test_a_field_without_value_and_a_value_without_field_are_refused(
    values: dict[str, object],
) -> None:
    with pytest.raises(
        ValueError, match=r"embed-index-run\.timer: missing or unused: (collection|x)$"
    ):
        fill("embed-index-run.timer", **values)


def test_what_a_value_says_is_no_field() -> None:
    text = fill("embed-index-run.timer", unit="@at@", at="02:30", collection="@x?\\1")

    assert text.startswith("# /etc/systemd/system/@at@.timer\n")
    assert "Description=Every night: embed-index for @x?\\1\n" in text


def test_printed_paths_hold_no_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "nightly.toml").write_text(
        '[source]\ninput = ["../corpus/*.parquet", "./b", "s3://bucket/../c"]\n'
        '[milvus]\ncollection = "articles"\nuri = "./x/../store/a.db"\n'
        '[run]\nstate_dir = "../state"\nmetrics_file = "./metrics/../m.prom"\n'
    )
    monkeypatch.chdir(tmp_path / "here")
    printed = ""
    for arguments in (
        "systemd serve --key-file ../keys/./key --job ./../nightly.toml",
        "systemd run --key-file ../keys/./key --job ../here/../nightly.toml",
        "cron --job ../nightly.toml",
        "nginx --server-name x --certificate-file ../c --access-log a/../b --job ../nightly.toml",
    ):
        done = CliRunner().invoke(cli, ["deploy", *arguments.split()])
        assert done.exit_code == 0, done.output
        printed += done.stdout.replace("s3://bucket/../c", "").replace(" ../sites-available", "")

    assert "/../" not in printed
    assert "/./" not in printed
    assert f"ssl_certificate {tmp_path}/c;" in printed
    assert f"LoadCredential=embedding-api-key:{tmp_path}/keys/key\n" in printed
    assert f"serve --job {tmp_path}/nightly.toml --server-port" in printed


def test_a_path_back_out_of_a_linked_folder_still_leads_to_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "disk" / "jobs").mkdir(parents=True)
    (tmp_path / "link").symlink_to("disk/jobs")

    assert absolute(tmp_path / "link" / ".." / "key") == tmp_path / "disk" / "key"
    assert absolute(tmp_path / "link" / "key") == tmp_path / "link" / "key"
