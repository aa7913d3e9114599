"""Which precisions may meet in one collection unasked."""

import pytest

from embed_index.schemas.precision import are_mixed, is_quantised


@pytest.mark.parametrize("name", ["fp8", "w8a8_int8", "Q8_0", "compressed-tensors", "awq"])
def test_fewer_than_sixteen_bits_are_quantised(name: str) -> None:
    assert is_quantised(name)


@pytest.mark.parametrize(
    "name", ["auto", "bfloat16", "float32", "BF16", "all F32", "F16", "unknown"]
)
def test_the_checkpoints_own_bits_are_not(name: str) -> None:
    assert not is_quantised(name)


@pytest.mark.parametrize(
    ("then", "now", "mixed"),
    [
        ("bfloat16", "fp8", True),
        ("fp8", "bfloat16", True),
        ("auto", "fp8", True),
        ("fp8", "Q8_0", True),
        ("fp8", "fp8", False),
        ("bfloat16", "float32", False),
        ("unknown", "fp8", False),
        ("fp8", "unknown", False),
        ("", "fp8", False),
    ],
)
def test_quantised_vectors_meet_only_their_own_kind(then: str, now: str, mixed: bool) -> None:
    assert are_mixed(then, now) is mixed
