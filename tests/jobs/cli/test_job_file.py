"""What is said of a corpus where the name of a job file is wanted."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from embed_index.jobs.main import cli


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("s3://bucket/corpus", "an address"),
        ("gs://bucket/a.parquet", "an address"),
        ("https://host/a.parquet", "an address"),
        ("file:///data/corpus", "an address"),
        ("*.parquet", "a pattern"),
    ],
)
@pytest.mark.parametrize(
    "command", ["run {}", "plan {}", "doctor --job {}", "deploy cron --job {}"]
)
def test_what_names_a_corpus_in_place_of_a_job_file_stays_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, given: str, what: str
) -> None:
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(cli, [word.format(given) for word in command.split()])

    assert done.exit_code == 2
    assert f"{given} is {what}, not a job file" in done.stderr
    assert "`embed-index run --input" in done.stderr


def test_a_key_in_an_address_in_place_of_a_job_file_is_not_repeated() -> None:
    done = CliRunner().invoke(cli, ["run", "s3://user:very-secret@bucket/corpus"])

    assert "not a job file" in done.stderr
    assert "very-secret" not in done.stderr
