"""`[run] report`: a page after each run, which never changes how the run ended."""

import sys
from pathlib import Path

import pytest
from job_fixtures import JobFolder

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps. " * 9 for n in range(4)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def test_each_run_leaves_a_report_as_the_settings_want_it(lite_job: JobFolder, path: Path) -> None:
    lite_job.write(CORPUS)
    wishes = ("--report", str(path), "--no-report-texts", "--report-color-by", "topic")

    done = lite_job.run("--carry", "topic", *wishes)

    page = path.read_text(encoding="utf-8")
    assert "4 new in 4 documents read" in page
    assert '"column":"topic"' in page
    assert "speaks of pumps" not in page
    assert "no report" not in done.stderr


def test_a_run_that_fails_leaves_a_report_and_keeps_its_exit_code(
    lite_job: JobFolder, path: Path
) -> None:
    lite_job.write({**CORPUS, "bad": None})

    lite_job.run("--report", str(path), "--max-dead-letters", "0", expect=3)

    assert "Too many dead letters" in path.read_text(encoding="utf-8")


def test_a_report_that_cannot_be_made_is_a_notice_and_no_failure(
    lite_job: JobFolder, path: Path
) -> None:
    lite_job.write(CORPUS)

    done = lite_job.run("--report", str(path), "--report-color-by", "colour")

    assert "no report was left in" in done.stderr
    assert "carries no column 'colour'" in done.stderr
    assert not path.exists()
    assert lite_job.history()[0]["outcome"] == "done"


def test_without_the_extra_the_notice_names_it(
    lite_job: JobFolder, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / "vl_convert.py").write_text("raise ImportError('no', name='vl_convert')")
    monkeypatch.syspath_prepend(str(absent))
    monkeypatch.delitem(sys.modules, "vl_convert", raising=False)
    lite_job.write(CORPUS)

    done = lite_job.run("--report", str(path))

    assert "pip install '.[report]' in the folder of embed-index" in done.stderr
    assert not path.exists()


def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    lite_job: JobFolder, tmp_path: Path
) -> None:
    lite_job.write(CORPUS)

    done = lite_job.run("--report", str(tmp_path / "absent" / "r.html"), expect=2)

    assert "report: " in done.stderr
    assert not lite_job.state.exists()
