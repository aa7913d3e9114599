"""Whatever a `tokenizer.json` asks for, the ids of a chunk stand for all of its text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embed_index.pipeline.model.files import ModelFiles, find_model
from embed_index.pipeline.model.splitter import TextSplitter
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.schemas.errors import ConfigurationError

TEXT = "It's a long document, café and 汉语 included.\n" * 200
TRUNCATION = {"direction": "Right", "max_length": 64, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 4096},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "!",
}
SAID_TWICE = {
    "type": "TemplateProcessing",
    "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 2,
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {},
}


class Unreadable:
    @staticmethod
    def from_json_str(_: str) -> None:
        raise ValueError


@pytest.fixture(params=["fastokens", "tokenizers"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "tokenizers":
        monkeypatch.setattr("fastokens.Tokenizer", Unreadable)
    name: str = request.param
    return name


@pytest.fixture
def change(sample_model: Path, tmp_path: Path) -> Callable[..., ModelFiles]:
    def change_tokenizer(**entries: Any) -> ModelFiles:
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_bytes((sample_model / "config.json").read_bytes())
        definition = json.loads((sample_model / "tokenizer.json").read_bytes())
        model = definition["model"] | entries.pop("model", {})
        (folder / "tokenizer.json").write_text(json.dumps(definition | {"model": model} | entries))
        return find_model(str(folder))

    return change_tokenizer


def splitter(steps: list[dict[str, Any]]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    return {"type": "Sequence", "pretokenizers": [*steps, byte_level | {"use_regex": False}]}


@pytest.mark.parametrize(
    "entries",
    [{"truncation": TRUNCATION}, {"padding": PADDING}, {"model": {"dropout": 0.5}}],
    ids=["truncation", "padding", "dropout"],
)
def test_what_a_file_asks_for_beyond_text_to_ids_is_switched_off(
    tokenizer: ModelTokenizer,
    change: Callable[..., ModelFiles],
    engine: str,
    entries: dict[str, Any],
) -> None:
    model = change(**entries)
    changed = ModelTokenizer.load(model)

    assert changed.engine == engine
    assert changed.encode_for_model(TEXT).tolist() == tokenizer.encode_for_model(TEXT).tolist()
    assert changed.appends_end_token
    spans = list(TextSplitter(changed, max_tokens=128).split(TEXT))
    assert "".join(TEXT[span.char_start : span.char_end] for span in spans) == TEXT
    assert len(spans) > 10
    assert changed.fingerprint == ModelTokenizer.load(change()).fingerprint


def test_a_tokenizer_with_other_tokens_has_another_fingerprint(
    change: Callable[..., ModelFiles],
) -> None:
    other = ModelTokenizer.load(change(model={"merges": []})).fingerprint

    assert other != ModelTokenizer.load(change()).fingerprint


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "another text .* Lowercase"),
        (
            {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nmt"}]}},
            "another text .* Nmt",
        ),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "add_prefix_space"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "not a byte-level"),
        (
            {
                "pre_tokenizer": splitter(
                    [{"type": "Split", "pattern": {"String": " "}, "behavior": "Removed"}]
                )
            },
            "Removed",
        ),
        (
            {
                "added_tokens": [
                    {"id": 8189, "content": "<|endoftext|>", "lstrip": True, "special": True}
                ]
            },
            r"white space beside <\|endoftext\|>",
        ),
        ({"model": {"type": "Unheard-of"}}, "cannot be read"),
    ],
)
def test_a_tokenizer_that_adds_to_texts_or_takes_from_them_is_refused(
    change: Callable[..., ModelFiles], entries: dict[str, Any], match: str
) -> None:
    with pytest.raises(ConfigurationError, match=match) as caught:
        ModelTokenizer.load(change(**entries))
    assert caught.value.remedy


def test_a_file_that_is_no_object_is_refused(change: Callable[..., ModelFiles]) -> None:
    model = change()
    model.tokenizer_file.write_text("[]")

    with pytest.raises(ConfigurationError, match="is not JSON"):
        ModelTokenizer.load(model)


def test_a_tokenizer_that_drops_a_character_is_refused_on_its_first_document(
    sample_model: Path, change: Callable[..., ModelFiles], engine: str
) -> None:
    definition = json.loads((sample_model / "tokenizer.json").read_bytes())
    # Nothing is left that spells a `z`, and there is no token for the unknown.
    vocab = {t: i for t, i in definition["model"]["vocab"].items() if "z" not in t}
    merges = [m for m in definition["model"]["merges"] if "z" not in "".join(m)]
    tokenizer = ModelTokenizer.load(change(model={"vocab": vocab, "merges": merges}))
    chunks = TextSplitter(tokenizer, max_tokens=128)

    assert list(chunks.split("A plain text."))
    with pytest.raises(ConfigurationError, match="15 of its 17 bytes") as caught:
        list(chunks.split("A text by Ziz: z."))
    assert "z." not in str(caught.value)


def test_a_tokenizer_that_says_a_text_twice_is_refused(
    change: Callable[..., ModelFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastokens.Tokenizer", Unreadable)
    tokenizer = ModelTokenizer.load(change(post_processor=SAID_TWICE))

    with pytest.raises(ConfigurationError, match="12 of its 6 bytes"):
        tokenizer.encode("a text")


@pytest.mark.parametrize("form", ["NFD", "NFKC", "NFKD", None])
def test_texts_are_covered_in_any_unicode_form(
    change: Callable[..., ModelFiles], engine: str, form: str | None
) -> None:
    tokenizer = ModelTokenizer.load(change(normalizer=form and {"type": form}))

    for text in ("Café ﬁne Å ẛ̣ 한국어 \U0001d160", "e\u0301 \u1100\u1161", "ascii"):
        assert tokenizer.encode(text).size
