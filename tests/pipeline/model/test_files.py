"""What a model's configuration says, and what may not be asked of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from embed_index.pipeline.model.files import ModelFiles, check_max_tokens, find_model
from embed_index.schemas.errors import ConfigurationError

QWEN3_EMBEDDING_0_6B = {"hidden_size": 1024, "vocab_size": 151669, "max_position_embeddings": 32768}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("models/Qwen3-Embedding-4B", "Qwen3-Embedding-4B"),
        ("hub/models--Qwen--Qwen3-Embedding-4B/snapshots/0a1b2c3d", "Qwen3-Embedding-4B"),
        ("hub/models/Qwen/Qwen3-Embedding-0___6B", "Qwen3-Embedding-0.6B"),
        ("hub/Qwen--Qwen3-Embedding-0.6B/snapshots/master", "Qwen3-Embedding-0.6B"),
        ("mine/snapshots/seventh", "seventh"),
    ],
)
@pytest.mark.parametrize("through_link", [False, True])
def test_a_folder_is_called_as_its_model_is(
    tmp_path: Path, path: str, name: str, through_link: bool
) -> None:
    folder = tmp_path / path
    folder.mkdir(parents=True)
    model_with(folder)
    link = tmp_path / "link"
    link.symlink_to(folder)

    assert find_model(str(link if through_link else folder)).name == name


def model_with(folder: Path, **more: Any) -> ModelFiles:
    (folder / "config.json").write_text(json.dumps({**QWEN3_EMBEDDING_0_6B, **more}))
    (folder / "tokenizer.json").write_text("{}")
    return find_model(str(folder))


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        pytest.param({}, 32768, id="Qwen3-Embedding-0.6B"),
        pytest.param({"max_position_embeddings": 40960}, 40960, id="Qwen3-Embedding-4B"),
        pytest.param({"max_position_embeddings": 512}, 512, id="short"),
        pytest.param({"rope_scaling": None}, 32768, id="rope_scaling of null"),
        pytest.param(
            {"max_position_embeddings": 8192, "rope_scaling": {"rope_type": "linear", "factor": 2}},
            16384,
            id="linear",
        ),
        pytest.param(
            {
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 32768,
                }
            },
            131072,
            id="YaRN on the unscaled number",
        ),
        pytest.param(
            {
                "max_position_embeddings": 131072,
                "rope_parameters": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 32768,
                },
            },
            131072,
            id="YaRN on the scaled number",
        ),
        pytest.param(
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, 32768, id="default"
        ),
    ],
)
def test_the_longest_input_is_what_the_positions_make_of_it(
    tmp_path: Path, config: dict[str, Any], longest: int
) -> None:
    model = model_with(tmp_path, **config)

    assert model.max_positions == longest
    check_max_tokens(longest, model)
    with pytest.raises(ConfigurationError) as caught:
        check_max_tokens(longest + 1, model)
    assert caught.value.message == (
        f"max_tokens: {longest + 1:,} is more than the {longest:,} positions of {tmp_path.name}"
    )
