"""The model's own tokenizer and its prompt format: text in, token ids out.

Two engines read the same `tokenizer.json`. Hugging Face `tokenizers` is the reference; `fastokens`
gives the same ids some fifty times faster. Both were run over probe texts, and where they differ,
or where fastokens does not know the format, the reference does the work.

Ids are proven to stand for the whole text, each time: their bytes add up to those of the text as
the tokenizer normalises it. A token less would be text that nobody finds.

The prompt is the Qwen3-Embedding model card's: `Instruct: {task}` newline `Query:{query}`, with no
space after `Query:`. Documents carry no instruction unless one is asked for.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.model.definition import plain_text
from embed_index.pipeline.model.engines import Engines
from embed_index.pipeline.model.facts import TokenizerFacts, derive_facts
from embed_index.pipeline.model.facts_cache import FactsCache
from embed_index.pipeline.model.files import ModelFiles
from embed_index.pipeline.model.normal_forms import normalised
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import TokenIds

if TYPE_CHECKING:
    from fastokens import Tokenizer as FastTokenizer

_MAX_SMALL = 256


class ModelTokenizer:
    """Turns text into the token ids that the model sees.

    An instance may be used from several threads. It is small until it has to encode.
    """

    def __init__(self, facts: TokenizerFacts, engines: Engines, *, name: str) -> None:
        """Build a tokenizer; see `load` and `of`.

        Args:
            facts: What was derived from its definition.
            engines: Of the same definition.
            name: How errors call it.
        """
        self._facts = facts
        # A small table stays in the processor's cache.
        is_small = facts.byte_lengths.max(initial=0) < _MAX_SMALL
        self._byte_lengths = facts.byte_lengths.astype(np.uint8) if is_small else facts.byte_lengths
        self._engines = engines
        self._name = name
        self.end_token_id = facts.end_token_id

    @classmethod
    def of(cls, definition: str, *, name: str = "the tokenizer") -> Self:
        """Build a tokenizer that does what its definition says of text and ids, and no more.

        Args:
            definition: The content of `tokenizer.json`.
            name: How errors call it.

        Raises:
            ConfigurationError: Its ids do not stand for the bytes of a text, it lacks the end
                token, or it cannot be read.
        """
        facts, engines = derive_facts(definition, name=name)
        return cls(facts, engines, name=name)

    @classmethod
    def load(cls, model: ModelFiles, *, cache: Path | None = None, may_write: bool = True) -> Self:
        """Read the tokenizer of a model.

        Args:
            model: Where its `tokenizer.json` is.
            cache: Folder for what was derived from it, so that this is done once; None for none.
            may_write: Whether something may be put there.

        Raises:
            ConfigurationError: `tokenizer.json` is none that the pipeline can use, or is not the
                model's.
        """
        tokenizer = cls._load(model.tokenizer_file, cache=cache, may_write=may_write)
        if tokenizer.max_token_id >= model.vocab_size:
            raise ConfigurationError(
                f"model: the tokenizer of {model.name} has more tokens than the model",
                remedy="Use the tokenizer that belongs to the model.",
            )
        return tokenizer

    @classmethod
    def _load(cls, file: Path, *, cache: Path | None, may_write: bool) -> Self:
        name = str(file)
        content = file.read_bytes()
        if cache is None:
            return cls.of(_decoded(content, name=name), name=name)
        definition_hash = hashlib.sha256(content).hexdigest()
        kept = FactsCache(folder=cache, definition_hash=definition_hash)
        facts = kept.read()
        if facts is None:
            # The engines go, and are read again at the first text: they would be in memory while
            # that is read, and a text may be large.
            facts, _ = derive_facts(_decoded(content, name=name), name=name)
            if may_write:
                kept.write(facts)
        later = _read_later(file, definition_hash=definition_hash, facts=facts)
        return cls(facts, Engines(later, name=name), name=name)

    @property
    def fingerprint(self) -> str:
        """The hash of its definition as it is used, independent of JSON layout."""
        return self._facts.fingerprint

    @property
    def max_token_id(self) -> int:
        """The largest id that can come out."""
        return int(self._facts.byte_lengths.size - 1)

    @property
    def engine(self) -> str:
        """Which engine does the work: `fastokens` or `tokenizers`."""
        return "fastokens" if self._facts.is_fast else "tokenizers"

    @property
    def appends_end_token(self) -> bool:
        """Whether `tokenizer.json` puts the end token behind a text, for others who use it."""
        return self._engines.reference.encode("a").ids[-1:] == [self.end_token_id]

    def encode(self, text: str) -> TokenIds:
        """Return the ids of a text, without an end token.

        Raises:
            ConfigurationError: They do not stand for the whole of it.
            UnicodeEncodeError: The text holds a lone surrogate.
        """
        fast = self._fast
        if fast is None:
            return self._encode_by_reference(text)
        raw, _ = fast.encode_batch_flat([text])
        ids: TokenIds = np.frombuffer(raw, dtype="<i4")
        is_proven = self._num_bytes(ids) == self._num_written_bytes(text)
        return ids if is_proven else self._encode_by_reference(text)

    def encode_all(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return the ids of each text, as `encode` does; on several cores where there are many.

        Raises:
            ConfigurationError: Some do not stand for the whole of their text.
            UnicodeEncodeError: A text holds a lone surrogate.
        """
        flat = self._encode_flat(texts)
        if flat is None:
            return [self._encode_by_reference(text) for text in texts]
        ids, bounds, is_proven = flat
        places = bounds.tolist()
        return [
            ids[start:end] if proven else self._encode_by_reference(text)
            for text, start, end, proven in zip(
                texts, places, places[1:], is_proven.tolist(), strict=False
            )
        ]

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return how many ids `encode` gives for each text, in a fraction of its time.

        Raises:
            ConfigurationError: The ids of a text do not stand for the whole of it.
            UnicodeEncodeError: A text holds a lone surrogate.
        """
        flat = self._encode_flat(texts)
        if flat is None:
            return np.array([self.encode(text).size for text in texts], dtype=np.int64)
        _, bounds, is_proven = flat
        counts: NDArray[np.int64] = np.diff(bounds)
        for place in np.flatnonzero(~is_proven).tolist():
            counts[place] = self._encode_by_reference(texts[place]).size
        return counts

    def _encode_flat(
        self, texts: Sequence[str]
    ) -> tuple[TokenIds, NDArray[np.int64], NDArray[np.bool_]] | None:
        """Return the ids of all texts, where each text's begin and end, and which are proven.

        Python and the engines may know different versions of Unicode; then a text's are not. None
        where there is no fast engine.
        """
        fast = self._fast
        if fast is None:
            return None
        raw, raw_bounds = fast.encode_batch_flat(list(texts))
        ids: TokenIds = np.frombuffer(raw, dtype="<i4")
        bounds = np.frombuffer(raw_bounds, dtype="<u8").astype(np.int64)
        covered = np.zeros(ids.size + 1, dtype=np.int64)
        np.cumsum(self._byte_lengths.take(ids), out=covered[1:])
        written = np.array([self._num_written_bytes(text) for text in texts], dtype=np.int64)
        return ids, bounds, np.diff(covered[bounds]) == written

    @property
    def _fast(self) -> "FastTokenizer | None":
        """The fast engine, where it can stand for the reference."""
        return self._engines.fast if self._facts.is_fast else None

    def _num_written_bytes(self, text: str) -> int:
        """Count the bytes of a text in the forms that the definition asks for."""
        # No form changes ASCII.
        if text.isascii():
            return len(text)
        for form in self._facts.forms:
            text = normalised(text, form)
        return len(text.encode("utf-8"))

    def _encode_by_reference(self, text: str) -> TokenIds:
        ids = np.asarray(
            self._engines.reference.encode(text, add_special_tokens=False).ids, np.int32
        )
        found, wanted = self._num_bytes(ids), self._num_normalised_bytes(text)
        if found != wanted:
            raise ConfigurationError(
                f"model: the ids that {self._name} gives for a text stand for {found:,} of its"
                f" {wanted:,} bytes",
                remedy="Take tokenizer.json from the model's own repository.",
            )
        return ids

    def _num_bytes(self, ids: TokenIds) -> int:
        return int(np.add.reduce(self._byte_lengths.take(ids), dtype=np.int64))

    def _num_normalised_bytes(self, text: str) -> int:
        normalizer = self._engines.reference.normalizer
        normalised = text if normalizer is None else normalizer.normalize_str(text)
        return len(normalised.encode("utf-8"))

    def encode_for_model(self, text: str) -> TokenIds:
        """Return the ids of a text as the model must see them: end token appended."""
        return np.append(self.encode(text), np.int32(self.end_token_id))

    def token_byte_lengths(self, ids: TokenIds) -> TokenIds:
        """Return how many UTF-8 bytes of normalised text each id stands for."""
        return self._facts.byte_lengths[ids]


def _read_later(file: Path, *, definition_hash: str, facts: TokenizerFacts) -> Callable[[], str]:
    """Return what reads a definition when an engine needs it."""
    name = str(file)

    def read() -> str:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != definition_hash:
            raise ConfigurationError(
                f"model: {name} changed while it was in use",
                remedy="Start again, once the model is as it should be.",
            )
        text = _decoded(content, name=name)
        return text if facts.is_plain else plain_text(text, name=name)

    return read


def _decoded(content: bytes, *, name: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"model: {name} is not UTF-8", remedy="Download the model's tokenizer again."
        ) from error


def instruction_prompt(instruction: str) -> str:
    """Return what stands before a text; empty for an empty instruction."""
    return f"Instruct: {instruction}\nQuery:" if instruction else ""
