"""The text that `deploy` prints for systemd and cron, checked by those who read it."""

import os
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import click
import pytest
from click.testing import CliRunner
from host_programs import host_program
from job_fixtures import JobFolder

from embed_index.jobs.deployment.deployment import Deployment
from embed_index.jobs.deployment.options import at_option
from embed_index.jobs.deployment.systemd import run_unit, serve_unit
from embed_index.jobs.main import cli
from embed_index.schemas.settings import JobSettings

JOB = """
[source]
input = "corpus"
[milvus]
collection = "articles"
"""
UNITS = {
    "serve": "embed-index-serve.service",
    "run": "embed-index-run-nightly.service",
    "timer": "embed-index-run-nightly.timer",
}


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    file = tmp_path / "nightly.toml"
    file.write_text(JOB)
    return file


def printed(*arguments: str | Path, expect: int = 0) -> str:
    done = CliRunner().invoke(cli, ["deploy", *map(str, arguments)])
    assert done.exit_code == expect, done.output
    assert (done.stderr if expect == 0 else done.stdout) == ""
    return done.output


def entries(unit: str) -> list[str]:
    return [line for line in unit.splitlines() if line and line[0] not in "#["]


def verify(folder: Path, *units: str) -> subprocess.CompletedProcess[str]:
    analyze = host_program("systemd-analyze", package="systemd")
    command = [analyze, "verify", "--man=no", *(f"./{unit}" for unit in units)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_systemd_accepts_every_unit_without_a_word(job_file: Path, tmp_path: Path) -> None:
    for unit, name in UNITS.items():
        (tmp_path / name).write_text(printed("systemd", unit, "--job", job_file))

    checked = verify(tmp_path, *UNITS.values())

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_systemd_would_have_said_so_of_a_wrong_unit(job_file: Path, tmp_path: Path) -> None:
    text = printed("systemd", "run", "--job", job_file)
    (tmp_path / UNITS["run"]).write_text(text.replace("KillMode=mixed", "KillMode=never"))

    assert "kill mode" in verify(tmp_path, UNITS["run"]).stderr


@pytest.mark.parametrize(
    ("text", "file"),
    [
        *((("systemd", unit), f"/etc/systemd/system/{name}") for unit, name in UNITS.items()),
        (("cron",), "/etc/cron.d/embed-index-run-nightly"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_first_line_says_where_the_text_belongs(
    job_file: Path, text: tuple[str, ...], file: str
) -> None:
    assert printed(*text, "--job", job_file).splitlines()[0] == f"# {file}"


def test_server_gets_its_key_from_root_and_may_not_write_elsewhere(job_file: Path) -> None:
    unit = printed("systemd", "serve", "--job", job_file, "--server-port", "31000",
                   "--key-file", "/etc/keys/a b%", "--user", "search")  # fmt: skip
    lines = entries(unit)

    assert "LoadCredential=embedding-api-key:/etc/keys/a b%%" in lines
    assert "User=search" in lines
    assert f"ReadWritePaths={job_file.parent}/.embed-index" in lines
    assert "ProtectSystem=strict" in lines
    (start,) = (line for line in lines if line.startswith("ExecStart="))
    assert start.endswith(f"serve --job {job_file} --server-port 31000")
    assert "ExecReload=/bin/kill -HUP $MAINPID" in lines
    assert not [line for line in lines if line.startswith(("PrivateDevices", "DeviceAllow"))]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
@pytest.mark.parametrize("text", [("cron",), ("systemd", "run"), ("systemd", "serve")])
def test_what_a_trial_by_hand_left_becomes_the_service_s_own(
    tmp_path: Path, text: tuple[str, ...]
) -> None:
    job_file = tmp_path / "nightly.toml"
    job_file.write_text(
        f'{JOB}uri = "a b.db"\n[run]\nreport = "later.html"\nkeep_vectors = "vectors"\n'
    )
    left = [".embed-index/logs/1.log", "a b.db/1.parquet", "vectors/1.parquet"]
    for name in left:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    table = printed(*text, "--job", job_file, "--user", "nobody")
    (line,) = (line for line in table.splitlines() if "install -d -m 0750" in line)
    line = line.removeprefix("#").replace("/var/lib/embed-index", str(tmp_path / "home"))

    subprocess.run(["sh", "-euc", f'sudo() {{ "$@"; }}; {line}'], check=True, timeout=60)

    assert {(tmp_path / name).owner() for name in (*left, "home", ".embed-index")} == {"nobody"}
    assert job_file.owner() == "root"


def test_nightly_run_gets_the_key_of_the_server_that_its_job_names(
    job_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = "LoadCredential=embedding-api-key:/etc/embed-index/key"
    monkeypatch.setenv("EMBEDDING_API_BASE", "http://this-shell-only:1")
    alone = entries(printed("systemd", "run", "--job", job_file))
    (job_file.parent / ".env").write_text("EMBEDDING_API_BASE=http://127.0.0.1:30000\n")
    text = printed("systemd", "run", "--job", job_file)
    shared = entries(text)

    assert credential not in alone
    assert credential in shared
    assert "After=network-online.target embed-index-serve.service" in shared
    assert f"must be able to read {job_file}, {job_file.parent}/.env, " in text


def test_nightly_run_counts_an_orderly_stop_as_success_and_retries_only_outages(
    job_file: Path,
) -> None:
    job_file.write_text(JOB + "[run]\ngrace_seconds = 90\n")
    lines = entries(printed("systemd", "run", "--job", job_file))

    assert "Type=oneshot" in lines
    assert "SuccessExitStatus=130" in lines
    assert "RestartPreventExitStatus=1 2 3 5 6" in lines
    assert "TimeoutStopSec=150s" in lines


def test_serve_unit_leaves_the_server_its_grace_period(job_file: Path) -> None:
    job_file.write_text(JOB + "[run]\ngrace_seconds = 90\n")

    assert "TimeoutStopSec=150s" in entries(printed("systemd", "serve", "--job", job_file))


def test_timer_starts_at_the_time_that_was_asked_for(job_file: Path) -> None:
    lines = entries(printed("systemd", "timer", "--job", job_file, "--at", "01:05"))

    assert "OnCalendar=*-*-* 01:05:00" in lines
    assert "Persistent=true" in lines


def test_awkward_paths_reach_systemd_quoted(tmp_path: Path) -> None:
    folder = tmp_path / 'a b 100% $HOME "x"'
    deployment = Deployment(
        job_file=folder / "my job.v2.toml",
        settings=JobSettings(
            state_dir=folder / "state", milvus_uri=str(folder / "a.db"), collection="articles"
        ),
        user="embed-index",
        program=(str(tmp_path / "bin dir" / "embed-index"),),
    )
    program = Path(deployment.program[0])
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    key = Path("/etc/embed-index/key")
    (tmp_path / UNITS["serve"]).write_text(serve_unit(deployment, key_file=key))
    name = f"{deployment.run_unit}.service"
    (tmp_path / name).write_text(run_unit(deployment, key_file=key))

    checked = verify(tmp_path, UNITS["serve"], name)

    assert name == "embed-index-run-my-job-v2.service"
    assert (checked.returncode, checked.stderr) == (0, "")
    text = (tmp_path / name).read_text()
    assert rf'{tmp_path}/a b 100%% $$HOME \"x\"/my job.v2.toml"' in text
    assert rf'ReadWritePaths="{tmp_path}/a b 100%% $HOME \"x\"/state" "' in text


def test_a_path_with_a_line_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a\nb.toml"
    file.write_text(JOB)

    assert "holds characters that no" in printed("cron", "--job", file, expect=2)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("systemd", "timer", "--at", "25:00"), "is no time of day such as 02:30"),
        (("cron", "--user", "a b"), "is no user name such as embed-index"),
        (("cron", "--mail-to", "a\nb"), "is no mail address such as root"),
    ],
)
def test_what_the_text_could_not_hold_is_a_usage_error(
    job_file: Path, arguments: tuple[str, ...], reason: str
) -> None:
    assert reason in printed(*arguments, "--job", job_file, expect=2)


def cron_entry(table: str) -> tuple[dict[str, str], list[str], str]:
    """Read a table as cron does: variables, the fields before the command, the command."""
    lines = entries(table)
    variables = dict(line.split("=", 1) for line in lines[:-1])
    *fields, command = lines[-1].split(maxsplit=6)
    return variables, fields, command.replace(r"\%", "%")


def test_cron_table_runs_silently_by_what_it_holds_and_mails_the_reason_of_a_failure(
    lite_job: JobFolder,
) -> None:
    lite_job.write({"a": "The pump was replaced.", "b": "Printers jam."})
    job_file = lite_job.folder / "100%.toml"
    job_file.write_text(
        f'[source]\ninput = "corpus"\n[model]\nmodel = "{lite_job.model}"\ndimension = 64\n'
        f'[chunking]\nmax_tokens = 64\n[milvus]\ncollection = "{lite_job.collection}"\n'
        'uri = "store.db"\n[run]\nstate_dir = "state"\nlog_format = "json"\n'
    )
    (lite_job.folder / ".env").write_text(
        "".join(f"{name}={value}\n" for name, value in lite_job.environment.items())
    )
    lite_job.state.mkdir()
    table = printed("cron", "--job", job_file, "--at", "04:07", "--mail-to", "ops@example.org")
    variables, fields, command = cron_entry(table)

    def night() -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(lite_job.folder), "PATH": variables["PATH"]}
        shell = [variables["SHELL"], "-c", command]
        return subprocess.run(
            shell, env=environment, cwd="/", capture_output=True, text=True, timeout=120
        )

    good = night()
    (lite_job.folder / "corpus" / "a.parquet").write_bytes(b"not Parquet")
    bad = night()

    assert fields == ["7", "4", "*", "*", "*", "embed-index"]
    assert variables["MAILTO"] == "ops@example.org"
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
    assert lite_job.history()[1]["num_new"] == 2
    assert (lite_job.state / "embed-index-run-100-.prom").is_file()
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith(f"error: {lite_job.collection}: input: ")
    assert "a.parquet is not a readable Parquet file" in bad.stderr.splitlines()[0]


def test_cron_accepts_the_name_of_the_file(job_file: Path) -> None:
    file = job_file.rename(job_file.with_name("nightly.small v2.toml"))
    table = printed("cron", "--job", file)

    assert table.splitlines()[0] == "# /etc/cron.d/embed-index-run-nightly-small-v2"
    assert shlex.split(cron_entry(table)[2])[2] == str(file)
    assert table.endswith("\n")
    assert os.linesep * 3 not in table


def test_the_usual_time_exists_in_every_night_of_every_zone() -> None:
    (option,) = click.command()(at_option(lambda at: None)).params
    first = datetime.strptime(f"2026-01-01 {option.default}", "%Y-%m-%d %H:%M")  # noqa: DTZ007
    nights = [first + timedelta(days=day) for day in range(730)]

    for name in available_timezones():
        zone = ZoneInfo(name)
        for night in nights:
            there = night.replace(tzinfo=zone).astimezone(UTC).astimezone(zone)
            assert there.replace(tzinfo=None) == night, name
