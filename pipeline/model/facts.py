"""What a run must know of a tokenizer before the first document that needs cutting.

It follows from the tokenizer's definition, costs seconds with a real vocabulary, and stays the same
until the definition or an engine does: `facts_cache` keeps it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embed_index.pipeline.model.definition import (
    check_definition,
    definition_fingerprint,
    normal_forms,
    parse_definition,
    plain_text,
    without_wishes,
)
from embed_index.pipeline.model.engines import Engines
from embed_index.pipeline.model.normal_forms import UnicodeForm
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import TokenIds

if TYPE_CHECKING:
    from tokenizers import Tokenizer as ReferenceTokenizer

_END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFacts:
    """What was derived from one definition."""

    fingerprint: str
    """As contracts record it."""
    end_token_id: int
    forms: tuple[UnicodeForm, ...]
    """Unicode forms that a text is brought into, in order."""
    is_plain: bool
    """Whether the definition can be given to an engine as it is."""
    is_fast: bool
    """Whether the fast engine gives the ids of the reference."""
    byte_lengths: TokenIds
    """By id, how many UTF-8 bytes of normalised text it stands for."""


def derive_facts(definition: str, *, name: str) -> tuple[TokenizerFacts, Engines]:
    """Read a definition whole, and check that it can be used.

    Args:
        definition: The content of a `tokenizer.json`.
        name: How errors call it.

    Returns:
        The facts, and the engines that were needed to find them.

    Raises:
        ConfigurationError: Its ids do not stand for the bytes of a text, it lacks the end token,
            or it cannot be read.
    """
    content = parse_definition(definition, name=name)
    check_definition(content, name=name)
    plain = without_wishes(content)
    is_plain = plain == content
    text = definition if is_plain else plain_text(definition, name=name)
    engines = Engines(lambda: text, name=name)
    end = engines.reference.token_to_id(_END_OF_TEXT)
    if end is None:
        raise ConfigurationError(
            f"model: the tokenizer has no token {_END_OF_TEXT}, on which the model pools",
            remedy="Use the tokenizer that belongs to the Qwen3-Embedding model.",
        )
    facts = TokenizerFacts(
        fingerprint=definition_fingerprint(plain),
        end_token_id=end,
        forms=normal_forms(content),
        is_plain=is_plain,
        is_fast=engines.agree(),
        byte_lengths=_token_byte_lengths(engines.reference),
    )
    if facts.is_fast:
        engines.drop_reference()
    return facts, engines


def _token_byte_lengths(tokenizer: "ReferenceTokenizer") -> TokenIds:
    """A byte-level vocabulary spells a byte as one character; added tokens spell themselves."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    added = {id_: token.content for id_, token in tokenizer.get_added_tokens_decoder().items()}
    lengths = np.zeros(max(vocabulary.values()) + 1, dtype=np.int32)
    for token, token_id in vocabulary.items():
        lengths[token_id] = len(token)
    for token_id, content in added.items():
        lengths[token_id] = len(content.encode("utf-8"))
    return lengths
