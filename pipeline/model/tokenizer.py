"""The model's own tokenizer and its prompt format: text in, token ids out.

Two engines read the same `tokenizer.json`. Hugging Face `tokenizers` is the reference; `fastokens`
gives the same ids some fifty times faster. Before its first use, both are run over probe texts, and
where they differ, or where fastokens does not know the format, the reference does the work.

Ids are proven to stand for the whole text, each time: their bytes add up to those of the text as
the tokenizer normalises it. A token less would be text that nobody finds.

The prompt is the Qwen3-Embedding model card's: `Instruct: {task}` newline `Query:{query}`, with no
space after `Query:`. Documents carry no instruction unless one is asked for.
"""

import json
from functools import cached_property
from typing import Self

import numpy as np
from fastokens import Tokenizer as FastTokenizer
from tokenizers import Tokenizer as ReferenceTokenizer

from embed_index.pipeline.model.definition import (
    check_definition,
    normal_forms,
    parse_definition,
    without_wishes,
)
from embed_index.pipeline.model.files import ModelFiles
from embed_index.pipeline.model.normal_forms import normalised
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

    def __init__(self, definition: str, *, name: str = "the tokenizer") -> None:
        """Build a tokenizer that does what its definition says of text and ids, and no more.

        Args:
            definition: The content of `tokenizer.json`.
            name: How errors call it.

        Raises:
            ConfigurationError: Its ids do not stand for the bytes of a text, it lacks the end
                token, or it cannot be read.
        """
        content = parse_definition(definition, name=name)
        check_definition(content, name=name)
        self._name = name
        self._forms = normal_forms(content)
        plain = without_wishes(content)
        self._definition = definition if plain == content else json.dumps(plain)
        self._reference = _read_reference(self._definition, name)
        end = self._reference.token_to_id(_END_OF_TEXT)
        if end is None:
            raise ConfigurationError(
                f"model: the tokenizer has no token {_END_OF_TEXT}, on which the model pools",
                remedy="Use the tokenizer that belongs to the Qwen3-Embedding model.",
            )
        self.end_token_id: int = end
        self._token_bytes = _token_byte_lengths(self._reference)

    @classmethod
    def load(cls, model: ModelFiles) -> Self:
        """Read the tokenizer of a model.

        Raises:
            ConfigurationError: `tokenizer.json` is none that the pipeline can use, or is not the
                model's.
        """
        file = model.tokenizer_file
        tokenizer = cls(file.read_text(encoding="utf-8"), name=str(file))
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
            ConfigurationError: They do not stand for the whole of it.
            UnicodeEncodeError: The text holds a lone surrogate.
        """
        if self._fast is None:
            return self._encode_by_reference(text)
        raw, _ = self._fast.encode_batch_flat([text])
        ids: TokenIds = np.frombuffer(raw, dtype="<i4")
        written = text
        for form in self._forms:
            written = normalised(written, form)
        if self._num_bytes(ids) == len(written.encode("utf-8")):
            return ids
        # Python and the engines may know different versions of Unicode.
        return self._encode_by_reference(text)

    def _encode_by_reference(self, text: str) -> TokenIds:
        ids = np.asarray(self._reference.encode(text, add_special_tokens=False).ids, np.int32)
        found, wanted = self._num_bytes(ids), self._num_normalised_bytes(text)
        if found != wanted:
            raise ConfigurationError(
                f"model: the ids that {self._name} gives for a text stand for {found:,} of its"
                f" {wanted:,} bytes",
                remedy="Take tokenizer.json from the model's own repository.",
            )
        return ids

    def _num_bytes(self, ids: TokenIds) -> int:
        return int(self._token_bytes.take(ids).sum())

    def _num_normalised_bytes(self, text: str) -> int:
        normalizer = self._reference.normalizer
        normalised = text if normalizer is None else normalizer.normalize_str(text)
        return len(normalised.encode("utf-8"))

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


def _read_reference(definition: str, name: str) -> ReferenceTokenizer:
    try:
        return ReferenceTokenizer.from_str(definition)
    except Exception as error:  # tokenizers has no type of its own for errors
        raise ConfigurationError(
            f"model: {name} cannot be read ({error})",
            remedy="Download the model's tokenizer again.",
        ) from error


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
