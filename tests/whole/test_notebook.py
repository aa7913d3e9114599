"""The notebook for search teams: runs as committed, and finds what `embed-index search` finds."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from job_fixtures import JobFolder
from nbclient import NotebookClient
from sglang_fixtures import RunningServer

DOCUMENTS = {
    "coffee": "Descale the coffee machine once a month, or when it asks to be descaled.",
    "printer": "打印机卡纸时，请先关闭电源，再打开后盖取出纸张。",
    "vpn": "The VPN client refuses to connect because its certificate expired last week.",
    "pump": "Close both valves before the pump is opened.",
}
ANSWERS = {
    "the coffee machine asks to be descaled": "coffee",
    "打印机卡纸怎么办": "printer",
    "VPN certificate expired": "vpn",
}
_PNG = b"\x89PNG\r\n"
_HIT = re.compile(r"^ +\d+  (-?\d\.\d{4})  (\w+) \(1/1\)  (.+)$", re.MULTILINE)


@pytest.fixture
def notebook(repository: Path) -> Any:
    return nbformat.read(repository / "sample_data" / "query_the_server.ipynb", as_version=4)


def test_the_notebook_is_committed_without_outputs(notebook: Any) -> None:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert cells
    assert [cell for cell in cells if cell.outputs or cell.execution_count is not None] == []


@pytest.mark.timeout(600)
def test_the_notebook_finds_what_the_search_command_finds(
    notebook: Any, lite_job: JobFolder, sglang_server: RunningServer
) -> None:
    key = sglang_server.server.key.get_secret_value()
    server = {"EMBEDDING_API_BASE": sglang_server.server.url, "EMBEDDING_API_KEY": key}
    # As beside the demonstration's state: the notebook is told nothing but the server.
    place, state = lite_job.folder / "sample_data", lite_job.folder / ".embed-index"
    for folder in (place, state):
        folder.mkdir()
    env_file = lite_job.folder / ".env"
    env_file.touch(mode=0o600)
    env_file.write_text("".join(f"{name}={value}\n" for name, value in server.items()))
    job = replace(lite_job, uri=str(state / "demo.db"), collection="sample")
    job.write(DOCUMENTS)
    job.run(environment=server)

    executed = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(place)}}
    ).execute()

    printed = {text.partition("\n")[0]: text for text in map(_printed, executed.cells) if text}
    alone = printed.pop("with the SDKs alone")
    assert printed.keys() == ANSWERS.keys()
    assert [found[:2] for found in _HIT.findall(alone)] == [
        found[:2] for found in _HIT.findall(printed["the coffee machine asks to be descaled"])
    ]
    for query, doc_id in ANSWERS.items():
        found = [(name, float(score)) for score, name, _ in _HIT.findall(printed[query])]
        assert found[0][0] == doc_id
        assert found == _searched(job, query, environment=server)
    (plot,) = _images(executed)
    assert plot.startswith(_PNG)
    assert key not in nbformat.writes(executed)


def _images(notebook: Any) -> list[bytes]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    images = [output.get("data", {}).get("image/png") for output in outputs]
    return [base64.b64decode(image) for image in images if image]


def _printed(cell: Any) -> str:
    outputs = cell.get("outputs", [])
    return "".join(output.text for output in outputs if output.output_type == "stream")


def _searched(job: JobFolder, query: str, *, environment: dict[str, str]) -> list[tuple[str, Any]]:
    done = job.on_collection(
        "search", query, "--json", "--limit", "3", "--model", str(job.model),
        environment=environment,
    )  # fmt: skip
    hits = json.loads(done.stdout)
    return [(hit["doc_id"], pytest.approx(hit["score"], abs=2e-4)) for hit in hits]
