import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as ReferenceTokenizer

from embed_index.pipeline.model.files import find_model
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.schemas.errors import ConfigurationError


@pytest.fixture(scope="module")
def reference(sample_model: Path) -> ReferenceTokenizer:
    return ReferenceTokenizer.from_file(str(sample_model / "tokenizer.json"))


def test_the_fast_engine_is_used_where_it_agrees(tokenizer: ModelTokenizer) -> None:
    assert tokenizer.engine == "fastokens"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_ids_equal_the_reference_on_any_text(
    tokenizer: ModelTokenizer, reference: ReferenceTokenizer, text: str
) -> None:
    assert tokenizer.encode_for_model(text).tolist() == reference.encode(text).ids


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=8))
def test_ids_of_texts_encoded_together_are_those_of_each_alone(
    tokenizer: ModelTokenizer, reference: ReferenceTokenizer, batch: list[str]
) -> None:
    together = [ids.tolist() for ids in tokenizer.encode_all(batch)]

    assert together == [reference.encode(text, add_special_tokens=False).ids for text in batch]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs", "Mn", "Lo"]), max_size=300))
def test_token_byte_lengths_sum_to_the_normalised_text(
    tokenizer: ModelTokenizer, text: str
) -> None:
    import unicodedata

    lengths = tokenizer.token_byte_lengths(tokenizer.encode(text))

    assert int(lengths.sum()) == len(unicodedata.normalize("NFC", text).encode())


def test_the_end_token_is_appended_once(tokenizer: ModelTokenizer) -> None:
    ids = tokenizer.encode_for_model("hello")

    assert ids.dtype == np.int32
    assert ids[-1] == tokenizer.end_token_id
    assert (ids == tokenizer.end_token_id).sum() == 1


def test_a_tokenizer_that_the_fast_engine_cannot_read_falls_back(
    sample_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreadable:
        @staticmethod
        def from_json_str(_: str) -> None:
            raise ValueError

    monkeypatch.setattr("fastokens.Tokenizer", Unreadable)
    slow = ModelTokenizer.of((sample_model / "tokenizer.json").read_text())

    assert slow.engine == "tokenizers"
    assert slow.encode("It's here.").tolist() == (
        ReferenceTokenizer.from_file(str(sample_model / "tokenizer.json"))
        .encode("It's here.", add_special_tokens=False)
        .ids
    )


def copy_model(source: Path, target: Path) -> Path:
    target.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (target / name).write_bytes((source / name).read_bytes())
    return target


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_a_model_folder_without_a_file_is_named(
    sample_model: Path, tmp_path: Path, missing: str
) -> None:
    folder = copy_model(sample_model, tmp_path / "model")
    (folder / missing).unlink()

    with pytest.raises(ConfigurationError, match=missing):
        find_model(str(folder))


def test_a_tokenizer_without_end_token_is_refused(sample_model: Path, tmp_path: Path) -> None:
    folder = copy_model(sample_model, tmp_path / "model")
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace("<|endoftext|>", "<|nothing|>"))

    with pytest.raises(ConfigurationError, match="endoftext"):
        ModelTokenizer.load(find_model(str(folder)))


def test_a_tokenizer_larger_than_the_model_is_refused(sample_model: Path, tmp_path: Path) -> None:
    folder = copy_model(sample_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 100}))

    with pytest.raises(ConfigurationError, match="more tokens"):
        ModelTokenizer.load(find_model(str(folder)))


def test_a_folder_that_does_not_exist_is_not_looked_up_on_a_hub() -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        find_model("./no/such/folder")


def test_the_revision_of_a_folder_follows_its_content(sample_model: Path, tmp_path: Path) -> None:
    folder = copy_model(sample_model, tmp_path / "model")
    before = find_model(str(folder)).revision
    (folder / "model.safetensors").write_bytes(b"other weights")

    assert find_model(str(folder)).revision != before


def test_a_checkpoint_says_how_it_was_quantised(sample_model: Path, tmp_path: Path) -> None:
    folder = copy_model(sample_model, tmp_path / "model")
    before = find_model(str(folder))
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "FP8", "activation_scheme": "dynamic"}
    (folder / "config.json").write_text(json.dumps(config))

    quantised = find_model(str(folder))

    assert (before.quantization, quantised.quantization) == (None, "fp8")
    assert quantised.revision != before.revision
