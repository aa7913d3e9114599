"""What a `tokenizer.json` may ask for beyond text to ids: switched off, or refused.

Fine-tuning tools leave their own wishes in the file, such as `truncation` at the length that they
trained with. Hugging Face tokenizers obeys them without a word, and fastokens some of them.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, get_args

from embed_index.pipeline.model.normal_forms import UnicodeForm
from embed_index.schemas.errors import ConfigurationError

_WISHES = ("truncation", "padding")
_TAKE_ANOTHER = "Take tokenizer.json from the model's own repository."


def parse_definition(text: str, *, name: str) -> dict[str, Any]:
    """Return the content of a `tokenizer.json`.

    Raises:
        ConfigurationError: It is no JSON object.
    """
    try:
        definition = json.loads(text)
    except ValueError:
        definition = None
    if not isinstance(definition, dict):
        raise ConfigurationError(
            f"model: {name} is not JSON", remedy="Download the model's tokenizer again."
        )
    return definition


def without_wishes(definition: dict[str, Any]) -> dict[str, Any]:
    """Return a definition that neither cuts nor fills up texts, nor throws dice (`dropout`)."""
    plain = definition | {name: None for name in _WISHES if definition.get(name) is not None}
    model = definition.get("model")
    if isinstance(model, dict) and model.get("dropout") is not None:
        plain["model"] = model | {"dropout": None}
    return plain


def plain_text(text: str, *, name: str) -> str:
    """Return a definition without its wishes, for an engine to read."""
    return json.dumps(without_wishes(parse_definition(text, name=name)))


def definition_fingerprint(definition: dict[str, Any]) -> str:
    """Return the hash of a definition as it is used, independent of JSON layout."""
    canonical = json.dumps(definition, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def check_definition(definition: dict[str, Any], *, name: str) -> None:
    """Refuse a tokenizer whose ids do not stand for the bytes of a text, one after the other.

    Args:
        definition: The content of `tokenizer.json`.
        name: How errors call it.

    Raises:
        ConfigurationError: It is not byte-level, or adds to texts or takes from them.
    """
    splitters = list(_parts(definition.get("pre_tokenizer"), "pretokenizers"))
    if not any(part.get("type") == "ByteLevel" for part in splitters):
        raise ConfigurationError(
            f"model: {name} is not a byte-level tokenizer",
            remedy="Use a Qwen3-Embedding model, or another with byte-level BPE.",
        )
    if any(part.get("add_prefix_space") for part in splitters):
        _refuse(name, "puts a space before every text (`add_prefix_space`)")
    if any(part.get("behavior") == "Removed" for part in splitters):
        _refuse(name, "leaves out what it splits texts at (`Removed`)")
    for part in _parts(definition.get("normalizer"), "normalizers"):
        if part.get("type") not in get_args(UnicodeForm):
            _refuse(name, f"reads another text than it is given (normalizer {part.get('type')})")
    for token in definition.get("added_tokens") or ():
        if token.get("lstrip") or token.get("rstrip"):
            _refuse(name, f"leaves out white space beside {token.get('content')} (`strip`)")


def normal_forms(definition: dict[str, Any]) -> tuple[UnicodeForm, ...]:
    """Return the Unicode forms that a text is brought into, in order."""
    return tuple(part["type"] for part in _parts(definition.get("normalizer"), "normalizers"))


def _refuse(name: str, what: str) -> None:
    raise ConfigurationError(f"model: {name} {what}", remedy=_TAKE_ANOTHER)


def _parts(part: dict[str, Any] | None, several: str) -> Iterator[dict[str, Any]]:
    if part is None:
        return
    if part.get("type") != "Sequence":
        yield part
    for inner in part.get(several) or ():
        yield from _parts(inner, several)
