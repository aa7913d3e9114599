"""What doctor makes of what was found on a node."""

import pytest

from embed_index.jobs.examination.cluster import _check_node
from embed_index.pipeline.cluster.examination import NodeReport
from embed_index.schemas.errors import ConfigurationError

GOOD = {"node": "a (node 1)", "model": "local-1", "gpus": ("H200",), "spill_bytes": 1 << 40}


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"failure": "it has not answered for 60 s"}, "a \\(node 1\\): it has not answered"),
        ({"differences": "ray 1 (the driver has 2)"}, "a \\(node 1\\) has ray 1"),
        ({"model": ""}, "a \\(node 1\\) has no model at /models/m"),
        ({"model": "local-2"}, "another revision of /models/m \\(local-2\\) than this host"),
    ],
)
def test_a_node_that_could_not_embed_is_a_problem_with_its_name(
    changed: dict[str, str], complaint: str
) -> None:
    report = NodeReport(**(GOOD | changed))  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError, match=complaint):
        _check_node(report, here="local-1", model="/models/m")


@pytest.mark.parametrize(
    ("changed", "model", "outcome"),
    [
        ({}, "/models/m", "ok"),
        ({"model": ""}, "Qwen/Qwen3-Embedding-4B", "warning"),
        ({"spill_bytes": 1 << 30}, "/models/m", "warning"),
    ],
)
def test_a_node_that_can_embed_says_what_it_has(
    changed: dict[str, object], model: str, outcome: str
) -> None:
    report = NodeReport(**(GOOD | changed))  # type: ignore[arg-type]

    check = _check_node(report, here="local-1", model=model)

    assert check.outcome == outcome
    assert check.found.startswith("a (node 1): H200; ")
