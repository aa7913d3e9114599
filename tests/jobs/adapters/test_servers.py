"""How many servers a command uses, on which GPUs, and how many requests keep them busy."""

from pathlib import Path

import pytest

from embed_index.jobs.adapters import servers as server_choice
from embed_index.jobs.adapters.servers import requests_in_flight, server_profile
from embed_index.pipeline.model.files import ModelFiles
from embed_index.pipeline.server.gpus import Gpu
from embed_index.pipeline.server.launch import sglang_flags
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.settings import JobSettings


def settings(**given: object) -> JobSettings:
    return JobSettings.model_validate(given)


@pytest.fixture
def visible(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many GPUs as the parameter says."""
    gpus = tuple(
        Gpu(
            index=index,
            name="H200",
            compute_capability=(9, 0),
            memory_bytes=1 << 37,
            uuid=f"GPU-{index}",
        )
        for index in range(request.param)
    )
    monkeypatch.setattr(server_choice, "visible_gpus", lambda: gpus)


@pytest.mark.parametrize(
    ("visible", "given", "expected"),
    [
        (0, {}, 3),
        (0, {"max_in_flight": 5}, 5),
        (1, {}, 24),
        (4, {}, 96),
        (4, {"gpus": (1, 3)}, 48),
        (4, {"gpus": (1, 3), "max_in_flight": 5}, 10),
        (0, {"server_url": ("http://a:1", "http://b:1")}, 48),
    ],
    indirect=["visible"],
)
@pytest.mark.usefixtures("visible")
def test_requests_in_flight_grow_with_the_servers(given: dict[str, object], expected: int) -> None:
    assert requests_in_flight(settings(**given)) == expected


@pytest.mark.parametrize("visible", [0, 2], indirect=True)
@pytest.mark.usefixtures("visible")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no GPU 2"):
        requests_in_flight(settings(gpus=(2,)))


@pytest.mark.parametrize(("gpu", "has_fa3"), [(None, False), (0, False), (1, True)])
def test_flags_are_those_of_the_servers_own_gpu(
    monkeypatch: pytest.MonkeyPatch, gpu: int | None, has_fa3: bool
) -> None:
    gpus = tuple(
        Gpu(index=i, name="", compute_capability=capability, memory_bytes=1 << 37, uuid=f"GPU-{i}")
        for i, capability in enumerate([(10, 0), (9, 0)])
    )
    monkeypatch.setattr(server_choice, "visible_gpus", lambda: gpus)
    model = ModelFiles(
        name="m",
        location="a/m",
        revision="r",
        hub_revision="r",
        tokenizer_file=Path("tokenizer.json"),
        width=512,
        vocab_size=8192,
        max_positions=32_768,
    )

    profile = server_profile(settings(), model=model, max_tokens=512, gpu=gpu)

    assert ("fa3" in sglang_flags(profile, port=1)) == has_fa3
