"""What a model's configuration says, and what may not be asked of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from embed_index.pipeline.model.files import ModelFiles, check_max_tokens, find_model
from embed_index.schemas.errors import ConfigurationError

QWEN3_EMBEDDING_0_6B = {"hidden_size": 1024, "vocab_size": 151669, "max_position_embeddings": 32768}


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
