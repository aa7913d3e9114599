"""The two engines that read a `tokenizer.json`, each at its first use.

Hugging Face `tokenizers` is the reference; `fastokens` gives the same ids some fifty times faster,
where it knows the format. A real vocabulary costs either more than a second and a hundred MB, which
a night without changes need not spend.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from embed_index.schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from fastokens import Tokenizer as FastTokenizer
    from tokenizers import Tokenizer as ReferenceTokenizer

_PROBES = (
    "",
    "A plain sentence, with numbers 12345 and it's contractions.",
    "  leading,\ttabs\r\nline ends\n\n\n   and trailing   ",
    "汉语文本，混合 English 与数字 2024。",
    "ありがとう、カタカナ・ひらがな。 안녕하세요",
    "السلام عليكم ورحمة الله",
    "Cafe\u0301 nai\u0308ve \u212b \ufb01 \u1e9b\u0323",
    "👩‍👩‍👧‍👦 👍🏽 🇨🇭 \u200d\ufe0f",
    "def f(x):\n    return x**2  # ok\n<|endoftext|> <|im_start|>user",
    "\x00\x01\x7f\u2028\u3000\U00010348",
)


class Engines:
    """Both engines of one definition; they may be used from several threads."""

    def __init__(self, definition: Callable[[], str], *, name: str) -> None:
        """Read nothing yet.

        Args:
            definition: Returns the content of a `tokenizer.json`.
            name: How errors call it.
        """
        self._definition = definition
        self._name = name

    @cached_property
    def reference(self) -> "ReferenceTokenizer":
        """Hugging Face tokenizers.

        Raises:
            ConfigurationError: The definition cannot be read.
        """
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_str(self._definition())
        except ConfigurationError:
            raise
        except Exception as error:  # tokenizers has no type of its own for errors
            raise ConfigurationError(
                f"model: {self._name} cannot be read ({error})",
                remedy="Download the model's tokenizer again.",
            ) from error

    @cached_property
    def fast(self) -> "FastTokenizer | None":
        """The fast engine; None where it does not know the format."""
        from fastokens import Tokenizer

        try:
            return Tokenizer.from_json_str(self._definition())
        except ValueError:
            return None

    def agree(self) -> bool:
        """Run both over probe texts; say whether the fast one can stand for the reference."""
        return self.fast is not None and all(
            self.fast.encode(probe).ids
            == self.reference.encode(probe, add_special_tokens=False).ids
            for probe in _PROBES
        )

    def drop_reference(self) -> None:
        """Give back its memory; it is read again should it be asked for."""
        self.__dict__.pop("reference", None)
