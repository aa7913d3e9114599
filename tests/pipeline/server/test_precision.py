"""What SGLang is told for a precision, card by card, and who is refused."""

from pathlib import Path

import pytest

from embed_index.pipeline.model.files import ModelFiles
from embed_index.pipeline.server.gpus import Gpu
from embed_index.pipeline.server.precision import Precision, choose_precision
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.precision import Dtype

IN_FP8 = Precision(dtype="bfloat16", quantization="fp8")


def card(name: str, *capability: int, index: int = 0) -> Gpu:
    major, minor = capability
    return Gpu(
        index=index,
        name=name,
        compute_capability=(major, minor),
        memory_bytes=1 << 37,
        uuid=f"GPU-{index}",
    )


H100 = card("NVIDIA H100", 9, 0)


def model(quantization: str | None = None) -> ModelFiles:
    return ModelFiles(
        name="tiny",
        location="tiny",
        revision="1",
        hub_revision=None,
        tokenizer_file=Path("tokenizer.json"),
        width=64,
        vocab_size=9,
        max_positions=512,
        quantization=quantization,
    )


@pytest.mark.parametrize(
    "gpu",
    [card("NVIDIA L4", 8, 9), H100, card("NVIDIA B200", 10, 0), card("RTX PRO 6000", 12, 0)],
    ids=lambda gpu: gpu.name,
)
def test_cards_with_fp8_arithmetic_quantise_while_loading(gpu: Gpu) -> None:
    assert choose_precision("fp8", model=model(), gpus=[gpu]) == IN_FP8


@pytest.mark.parametrize(
    "gpu",
    [card("NVIDIA A100-SXM4-80GB", 8, 0), card("NVIDIA A10G", 8, 6), card("Tesla T4", 7, 5)],
    ids=lambda gpu: gpu.name,
)
@pytest.mark.parametrize(("wanted", "own"), [("fp8", None), ("auto", "fp8")])
def test_a_card_without_it_is_named_with_the_reason(
    gpu: Gpu, wanted: Dtype, own: str | None
) -> None:
    with pytest.raises(ConfigurationError, match="no fp8 arithmetic") as error:
        choose_precision(wanted, model=model(own), gpus=[gpu])
    assert gpu.name in error.value.message


def test_each_of_several_cards_must_have_it() -> None:
    with pytest.raises(ConfigurationError, match="GPU 1, NVIDIA A100"):
        choose_precision("fp8", model=model(), gpus=[H100, card("NVIDIA A100", 8, 0, index=1)])


@pytest.mark.parametrize(("wanted", "own"), [("fp8", None), ("auto", "fp8"), ("auto", "awq")])
def test_nothing_quantised_is_served_on_the_cpu(wanted: Dtype, own: str | None) -> None:
    with pytest.raises(ConfigurationError, match="CPU, on which this host would serve it"):
        choose_precision(wanted, model=model(own), gpus=[])


@pytest.mark.parametrize(
    ("wanted", "gpus", "dtype"),
    [("auto", [H100], "bfloat16"), ("auto", [], "float32"), ("float32", [H100], "float32")],
)
def test_other_precisions_are_what_they_were(wanted: Dtype, gpus: list[Gpu], dtype: str) -> None:
    assert choose_precision(wanted, model=model(), gpus=gpus) == Precision(dtype=dtype)


@pytest.mark.parametrize("wanted", ["auto", "fp8"])
def test_a_checkpoint_in_fp8_is_served_as_it_is(wanted: Dtype) -> None:
    assert choose_precision(wanted, model=model("fp8"), gpus=[H100]) == IN_FP8


def test_how_another_method_is_served_is_left_to_sglang() -> None:
    assert choose_precision("auto", model=model("awq"), gpus=[H100]) == Precision(dtype="bfloat16")


@pytest.mark.parametrize(
    ("wanted", "own"), [("bfloat16", "fp8"), ("float32", "fp8"), ("fp8", "awq")]
)
def test_a_quantised_checkpoint_is_not_served_in_another_precision(wanted: Dtype, own: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"quantised already \({own}\).*in {wanted}"):
        choose_precision(wanted, model=model(own), gpus=[H100])
