"""What a run on a cluster refuses before it looks at one."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from embed_index.jobs.main import cli


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (("--server-url", "http://127.0.0.1:9"), "server_url"),
        (("--gpus", "0"), "gpus"),
        (("--server-port", "30000"), "server_port"),
    ],
)
def test_servers_are_a_cluster_s_or_others_and_never_both(
    tmp_path: Path, flags: tuple[str, str], name: str
) -> None:
    run = ["run", "--input", str(tmp_path), "--collection", "c", "--ray", "auto", *flags]

    done = CliRunner().invoke(cli, run, env={"EMBEDDING_API_KEY": "k" * 20})

    assert done.exit_code == 2
    assert f"ray has servers started on a cluster's nodes, and {name} is about" in done.output
