"""In what precision vectors are made: what a job may ask for, and which may meet unasked.

Vectors in full and in half precision agree to four digits, and the canaries tell when they do not.
Quantised ones differ by more than that, and nobody shall get them without having asked.
"""

from typing import Final, Literal, TypeAlias

Dtype: TypeAlias = Literal["auto", "bfloat16", "float32", "fp8"]

FP8: Final = "fp8"

_UNKNOWN = frozenset({"", "unknown"})
_NOT_QUANTISED = frozenset(
    {"auto", "bfloat16", "float16", "float32", "half", "float", "bf16", "f16", "f32", "all f32"}
)
"""As SGLang and llama.cpp call them; `auto` is the checkpoint's own."""


def is_quantised(precision: str) -> bool:
    """Tell whether a precision, as a server or a contract says it, has fewer than 16 bits."""
    name = precision.casefold().removesuffix(" (guessed)")
    return name not in _NOT_QUANTISED | _UNKNOWN


def are_mixed(first: str, second: str) -> bool:
    """Tell whether two precisions must not meet; what is not said is left to the canaries."""
    first, second = first.casefold(), second.casefold()
    if first in _UNKNOWN or second in _UNKNOWN or first == second:
        return False
    return is_quantised(first) or is_quantised(second)
