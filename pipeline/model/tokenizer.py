"""The model's own tokenizer and its prompt format: text in, token ids out.

Two engines read the same `tokenizer.json`. Hugging Face `tokenizers` is the reference; `fastokens`
gives the same ids some fifty times faster. Before its first use, both are run over probe texts, and
where they differ, or where fastokens does not know the format, the reference does the work.

The prompt is the Qwen3-Embedding model card's: `Instruct: {task}` newline `Query:{query}`, with no
space after `Query:`. Documents carry no instruction unless one is asked for.
"""

import json
from functools import cached_property
from typing import Self

import numpy as np
from fastokens import Tokenizer as FastTokenizer
from tokenizers import Tokenizer as ReferenceTokenizer

from embed_index.pipeline.model.files import ModelFiles
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import TokenIds

_END_OF_TEXT = "<|endoftext|>"

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


class ModelTokenizer:
    """Turns text into the token ids that the model sees.

    An instance may be used from several threads.
    """

    def __init__(self, definition: str) -> None:
        self._reference = ReferenceTokenizer.from_str(definition)
        end = self._reference.token_to_id(_END_OF_TEXT)
        if end is None:
            raise ConfigurationError(
                f"model: the tokenizer has no token {_END_OF_TEXT}, on which the model pools",
                remedy="Use the tokenizer that belongs to the Qwen3-Embedding model.",
            )
        self.end_token_id: int = end
        self._token_bytes = _token_byte_lengths(self._reference)
        self._definition = definition

    @classmethod
    def load(cls, model: ModelFiles) -> Self:
        """Read the tokenizer of a model.

        Raises:
            ConfigurationError: `tokenizer.json` is not a byte-level tokenizer, or lacks the end
                token.
        """
        definition = model.tokenizer_file.read_text(encoding="utf-8")
        try:
            kinds = json.dumps(json.loads(definition).get("pre_tokenizer"))
        except ValueError as error:
            raise ConfigurationError(
                f"model: {model.tokenizer_file} is not JSON",
                remedy="Download the model's tokenizer again.",
            ) from error
        if "ByteLevel" not in kinds:
            raise ConfigurationError(
                f"model: {model.tokenizer_file} is not a byte-level tokenizer",
                remedy="Use a Qwen3-Embedding model, or another with byte-level BPE.",
            )
        tokenizer = cls(definition)
        if tokenizer.max_token_id >= model.vocab_size:
            raise ConfigurationError(
                f"model: the tokenizer of {model.name} has more tokens than the model",
                remedy="Use the tokenizer that belongs to the model.",
            )
        return tokenizer

    @property
    def max_token_id(self) -> int:
        """The largest id that can come out."""
        return int(self._token_bytes.size - 1)

    @property
    def engine(self) -> str:
        """Which engine does the work: `fastokens` or `tokenizers`."""
        return "fastokens" if self._fast else "tokenizers"

    @property
    def appends_end_token(self) -> bool:
        """Whether `tokenizer.json` puts the end token behind a text, for others who use it."""
        return self._reference.encode("a").ids[-1:] == [self.end_token_id]

    def encode(self, text: str) -> TokenIds:
        """Return the ids of a text, without an end token.

        Raises:
            UnicodeEncodeError: The text holds a lone surrogate.
        """
        if self._fast is None:
            return np.asarray(self._reference.encode(text, add_special_tokens=False).ids, np.int32)
        ids, _ = self._fast.encode_batch_flat([text])
        return np.frombuffer(ids, dtype="<u4").astype(np.int32)

    def encode_for_model(self, text: str) -> TokenIds:
        """Return the ids of a text as the model must see them: end token appended."""
        return np.append(self.encode(text), np.int32(self.end_token_id))

    def token_byte_lengths(self, ids: TokenIds) -> TokenIds:
        """Return how many UTF-8 bytes of normalised text each id stands for."""
        return self._token_bytes[ids]

    @cached_property
    def _fast(self) -> FastTokenizer | None:
        """Loaded on first use, because a night without changes has none."""
        try:
            fast = FastTokenizer.from_json_str(self._definition)
        except ValueError:
            return None
        for probe in _PROBES:
            if (
                fast.encode(probe).ids
                != self._reference.encode(probe, add_special_tokens=False).ids
            ):
                return None
        return fast


def _token_byte_lengths(tokenizer: ReferenceTokenizer) -> TokenIds:
    """A byte-level vocabulary spells a byte as one character; added tokens spell themselves."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    added = {id_: token.content for id_, token in tokenizer.get_added_tokens_decoder().items()}
    lengths = np.zeros(max(vocabulary.values()) + 1, dtype=np.int32)
    for token, token_id in vocabulary.items():
        lengths[token_id] = len(token)
    for token_id, content in added.items():
        lengths[token_id] = len(content.encode("utf-8"))
    return lengths


def instruction_prompt(instruction: str) -> str:
    """Return what stands before a text; empty for an empty instruction."""
    return f"Instruct: {instruction}\nQuery:" if instruction else ""
