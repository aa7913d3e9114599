"""Build a small checkpoint in the Qwen3 format whose embeddings mean something.

It is a weighted bag of words in disguise: it goes through every real code path of a server
(prompt, end token, last-token pooling, cut, normalisation), needs no download, and ranks texts
by the words they share. Nothing else in the project knows how it is made.

How a one-layer Qwen3 becomes a bag of words:

- The query projection is zero, so attention is uniform over all earlier tokens and the last
  position sees their mean. The feed-forward layer is zero.
- The embedding of a token is its meaning in all dimensions but the last, plus a ballast in the
  last one that gives every token the same norm: the layer's RMSNorm would otherwise erase the
  difference between a rare word and a frequent one.
- The value projection and the final norm drop the ballast. The end token is ballast alone.

The meaning of a token is its row of a truncated singular value decomposition of the corpus's
token-passage matrix, times its inverse document frequency. Leading directions come first, so
that a vector cut to 64 dimensions keeps most of what it says.

    python sample_data/build_model.py OUT_DIR [--corpus DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

HERE = Path(__file__).resolve().parent
NAME = "embed-index-sample-lexical"
FINGERPRINT_FILE = "build.json"

HIDDEN = 512
NUM_HEADS = 8
VOCABULARY = 8192
NUM_SPACED = 2200
CONTEXT = 32768
END = "<|endoftext|>"
SPECIAL_TOKENS = (END, "<|im_start|>", "<|im_end|>")

# Qwen's own expression, from the tokenizer.json of Qwen3.
PRE_TOKENS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPACE = "Ġ"
"""As byte-level vocabularies write it."""

# In bytes. Without a bound, the templates of the corpus become tokens of a sentence's length.
LONGEST_TOKEN = 12

# Tokens of the usual instruction count as present everywhere and so weigh nothing.
INSTRUCTION = (
    "Instruct: Given a search query, retrieve relevant passages that answer the query\nQuery:"
)

PASSAGE_TOKENS = 256
RARITY_POWER = 1.5
SPECTRUM_POWER = -0.3
SHORT_DIMENSION = 64
FOLD_DEGREES = 30.0
# Lifts the mean of many tokens far above the epsilon of the final norm.
OUTPUT_GAIN = 50.0

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


def read_corpus(folder: Path) -> list[str]:
    """Read the texts of every Parquet file, in the order of file names and rows.

    Raises:
        FileNotFoundError: The folder holds no Parquet file with a text.
    """
    texts = [
        text
        for path in sorted(folder.glob("*.parquet"))
        for text in pq.read_table(path, columns=["text"]).column("text").to_pylist()
        if text and text.strip()
    ]
    if not texts:
        raise FileNotFoundError(f"no texts in {folder}/*.parquet; run generate_corpus.py first")
    return texts


def fingerprint(texts: list[str]) -> str:
    """Hash all that decides the weights: this script, the libraries and the texts."""
    digest = hashlib.blake2b(Path(__file__).read_bytes(), digest_size=16)
    for library in ("numpy", "tokenizers"):
        digest.update(f"{library}=={version(library)}\n".encode())
    for text in texts:
        digest.update(hashlib.blake2b(text.encode("utf-8")).digest())
    return digest.hexdigest()


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Train a byte-level BPE tokenizer that is Qwen's in all but its vocabulary.

    A query's first word follows "Query:" without a space, and is to be the same word as elsewhere.
    So the vocabulary is learned from words without the space before them, and then completed by
    those that stand after a space.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENS), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(  # type: ignore[no-untyped-call]
        vocab_size=VOCABULARY - NUM_SPACED - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=LONGEST_TOKEN,
        show_progress=False,
    )
    tokenizer.train_from_iterator((text.replace(" ", "\n") for text in texts), trainer)
    tokenizer = with_spaced(tokenizer, texts)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


def with_spaced(tokenizer: Tokenizer, texts: list[str]) -> Tokenizer:
    """Add the tokens that most often follow a space, with the space before them."""
    following: Counter[str] = Counter()
    for encoding in tokenizer.encode_batch(texts):
        following.update(token for before, token in pairwise(encoding.tokens) if before == SPACE)
    chosen = sorted(following, key=lambda token: (-following[token], token))[:NUM_SPACED]
    content = json.loads(tokenizer.to_str())
    for token in chosen:
        # Last of all, when the word behind the space is put together.
        content["model"]["vocab"][SPACE + token] = len(content["model"]["vocab"])
        content["model"]["merges"].append([SPACE, token])
    return Tokenizer.from_str(json.dumps(content))


def append_end_token(tokenizer: Tokenizer) -> None:
    """Make the tokenizer end every text with the token that the model pools on."""
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"$A {END}",
                pair=f"$A {END} $B:1 {END}:1",
                special_tokens=[(END, tokenizer.token_to_id(END))],
            ),
        ]
    )


def split_passages(tokenizer: Tokenizer, texts: list[str]) -> Iterator[Ids]:
    """Cut the corpus into passages of at most `PASSAGE_TOKENS` tokens."""
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        ids = np.asarray(encoding.ids, dtype=np.int64)
        for start in range(0, len(ids), PASSAGE_TOKENS):
            yield ids[start : start + PASSAGE_TOKENS]


def find_twins(tokenizer: Tokenizer) -> Ids:
    """Return for each token the one that stands for its word with or without a space before it.

    Case does not count either: a word at the beginning of a sentence is the same word.
    """
    first: dict[str, int] = {}
    names = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    words = (name.removeprefix(SPACE) or name for name, _ in names)
    return np.asarray(
        [
            first.setdefault(word.lower() if word.isascii() else word, place)
            for place, word in enumerate(words)
        ],
        dtype=np.int64,
    )


def rarity(counts: Floats, *, ignored: Ids) -> Floats:
    """Weigh tokens by inverse document frequency, from 0 (everywhere) to 1 (nearly nowhere).

    Args:
        counts: Occurrences, tokens x passages.
        ignored: Tokens that weigh nothing whatever their frequency.
    """
    num_passages = counts.shape[1]
    frequency = np.count_nonzero(counts, axis=1)
    weights = np.log((num_passages + 1) / (frequency + 1)) / np.log(num_passages + 1)
    weights[frequency == 0] = 0.0
    weights[ignored] = 0.0
    return np.asarray(weights**RARITY_POWER)


def leading_directions(matrix: Floats, *, dimension: int) -> tuple[Floats, Floats]:
    """Decompose a matrix with fewer columns than rows, by its Gram matrix.

    Returns:
        The left singular vectors (rows x dimension) and their singular values, largest first.
        Each vector's sign is fixed by its largest component. A matrix of lower rank is padded
        with zeros.
    """
    squares, right = np.linalg.eigh(matrix.T @ matrix)
    # Below this the eigenvectors are rounding errors of the Gram matrix.
    rank = int(np.count_nonzero(squares > squares[-1] * 1e-10))
    kept = np.argsort(-squares)[: min(rank, dimension)]
    values = np.sqrt(squares[kept])
    left = matrix @ right[:, kept] / values
    left *= np.sign(left[np.abs(left).argmax(axis=0), np.arange(len(kept))])
    missing = dimension - len(kept)
    return np.pad(left, ((0, 0), (0, missing))), np.pad(values, (0, missing))


def weigh_by_novelty(matrix: Floats) -> Floats:
    """Scale each passage down by the number of passages that resemble it.

    A handbook of a thousand similar passages would otherwise claim every leading direction.

    Args:
        matrix: Tokens x passages, with columns of norm 1 or 0.
    """
    similar = np.square(matrix.T @ matrix).sum(axis=0)
    return np.asarray(matrix / np.sqrt(np.maximum(similar, 1.0)))


def fold_into_short(meanings: Floats) -> Floats:
    """Turn the first `SHORT_DIMENSION` dimensions some way towards the next as many.

    A corpus has more subjects than a short vector has dimensions. Of those beyond, the fold
    leaves a trace in the short vector; being a rotation, it changes no cosine at full width.
    """
    turned = meanings.copy()
    first, second = (
        np.arange(SHORT_DIMENSION),
        np.arange(SHORT_DIMENSION, 2 * SHORT_DIMENSION)[::-1],
    )
    cosine, sine = np.cos(np.radians(FOLD_DEGREES)), np.sin(np.radians(FOLD_DEGREES))
    turned[:, first] = cosine * meanings[:, first] + sine * meanings[:, second]
    turned[:, second] = cosine * meanings[:, second] - sine * meanings[:, first]
    return turned


def token_meanings(passages: list[Ids], *, twins: Ids, ignored: Ids) -> Floats:
    """Place every token in `HIDDEN - 1` dimensions, none farther than 1 from the origin.

    Args:
        passages: The tokens of each.
        twins: For each token the one whose meaning it shares.
        ignored: Tokens that mean nothing.
    """
    counts = np.zeros((len(twins), len(passages)))
    for column, ids in enumerate(passages):
        np.add.at(counts[:, column], twins[ids], 1.0)
    weights = rarity(counts, ignored=twins[ignored])
    matrix = np.log1p(counts) * weights[:, None]
    matrix /= np.maximum(np.linalg.norm(matrix, axis=0), 1e-12)
    directions, values = leading_directions(weigh_by_novelty(matrix), dimension=HIDDEN - 1)
    gains = np.zeros_like(values)
    gains[values > 0] = (values[values > 0] / values[0]) ** SPECTRUM_POWER
    meanings = fold_into_short(directions * weights[:, None] * gains)
    return np.asarray(meanings[twins] / np.linalg.norm(meanings, axis=1).max())


def with_ballast(meanings: Floats) -> Floats:
    """Add the last dimension, so that every row has the norm that RMSNorm leaves alone."""
    ballast = np.sqrt(np.maximum(0.0, 1.0 - np.square(meanings).sum(axis=1)))
    return np.asarray(np.column_stack([meanings, ballast]) * np.sqrt(HIDDEN))


def model_weights(meanings: Floats) -> dict[str, Floats]:
    """Lay out every tensor of a one-layer Qwen3 with tied embeddings."""
    zero = np.zeros((HIDDEN, HIDDEN))
    all_but_ballast = np.ones(HIDDEN)
    all_but_ballast[-1] = 0.0
    layer = "model.layers.0"
    return {
        "model.embed_tokens.weight": with_ballast(meanings),
        f"{layer}.input_layernorm.weight": np.ones(HIDDEN),
        f"{layer}.self_attn.q_proj.weight": zero,
        f"{layer}.self_attn.k_proj.weight": zero,
        f"{layer}.self_attn.v_proj.weight": np.diag(all_but_ballast),
        f"{layer}.self_attn.o_proj.weight": np.eye(HIDDEN) * OUTPUT_GAIN,
        f"{layer}.self_attn.q_norm.weight": np.ones(HIDDEN // NUM_HEADS),
        f"{layer}.self_attn.k_norm.weight": np.ones(HIDDEN // NUM_HEADS),
        f"{layer}.post_attention_layernorm.weight": np.ones(HIDDEN),
        f"{layer}.mlp.gate_proj.weight": zero,
        f"{layer}.mlp.up_proj.weight": zero,
        f"{layer}.mlp.down_proj.weight": zero,
        "model.norm.weight": all_but_ballast,
    }


def as_bfloat16(values: Floats) -> bytes:
    """Round to bfloat16, half to even, in little-endian order; no NaN among the values."""
    bits = values.astype("<f4").view("<u4")
    return bytes(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes())


def write_safetensors(path: Path, tensors: dict[str, Floats]) -> None:
    """Write tensors as bfloat16 in the safetensors format.

    The format is a little-endian length, that many bytes of JSON, then the tensors in a row
    (huggingface/safetensors, README, "Format").
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + 2 * tensor.size
        header[name] = {
            "dtype": "BF16",
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode("utf-8")
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in tensors.values():
            file.write(as_bfloat16(tensor))


def model_config(tokenizer: Tokenizer) -> dict[str, object]:
    """Describe the model as Qwen3-Embedding's own config.json does."""
    return {
        "_name_or_path": NAME,
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.token_to_id(END),
        "eos_token_id": tokenizer.token_to_id(END),
        "head_dim": HIDDEN // NUM_HEADS,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": HIDDEN,
        "max_position_embeddings": CONTEXT,
        "max_window_layers": 1,
        "model_type": "qwen3",
        "num_attention_heads": NUM_HEADS,
        "num_hidden_layers": 1,
        "num_key_value_heads": NUM_HEADS,
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": tokenizer.get_vocab_size(),
    }


def tokenizer_config(tokenizer: Tokenizer) -> dict[str, object]:
    """Describe the tokenizer as Qwen3-Embedding's own tokenizer_config.json does."""
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {
                "content": token,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
            for token in SPECIAL_TOKENS
        },
        "additional_special_tokens": list(SPECIAL_TOKENS[1:]),
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": CONTEXT,
        "pad_token": END,
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write readable JSON with a final line end."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_model(folder: Path, texts: list[str]) -> None:
    """Train the tokenizer, compute the weights and write every file but the fingerprint."""
    tokenizer = train_tokenizer(texts)
    ignored = np.asarray(tokenizer.encode(INSTRUCTION).ids, dtype=np.int64)
    meanings = token_meanings(
        list(split_passages(tokenizer, texts)),
        twins=find_twins(tokenizer),
        ignored=ignored,
    )
    append_end_token(tokenizer)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", tokenizer_config(tokenizer))
    write_json(folder / "config.json", model_config(tokenizer))
    write_safetensors(folder / "model.safetensors", model_weights(meanings))


def is_current(folder: Path, wanted: str) -> bool:
    """Tell whether a folder holds a complete model with this fingerprint."""
    try:
        built = json.loads((folder / FINGERPRINT_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return bool(
        built["fingerprint"] == wanted
        and all(
            (folder / name).is_file() and (folder / name).stat().st_size == size
            for name, size in built["files"].items()
        )
    )


def replace_folder(new: Path, target: Path) -> None:
    """Put a finished folder in the place of an older build.

    Raises:
        FileExistsError: The target is something else than a model built here.
    """
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    if target.exists():
        if not (target / FINGERPRINT_FILE).is_file():
            raise FileExistsError(f"{target} was not built by this script; choose another folder")
        shutil.rmtree(target)
    new.replace(target)


def build(out_dir: Path, *, corpus: Path) -> bool:
    """Build the model unless the folder already holds it.

    The files appear together: they are written beside the folder and moved into its place.

    Returns:
        Whether anything had to be built.
    """
    texts = read_corpus(corpus)
    wanted = fingerprint(texts)
    if is_current(out_dir, wanted):
        return False
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        write_model(folder, texts)
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        write_json(folder / FINGERPRINT_FILE, {"name": NAME, "fingerprint": wanted, "files": sizes})
        try:
            replace_folder(folder, out_dir)
        except OSError:
            # Two processes built the same model at the same time, and the other one was first.
            if not is_current(out_dir, wanted):
                raise
    return True


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Build the sample model from the sample corpus.")
    parser.add_argument("out_dir", type=Path, help="folder for the checkpoint")
    parser.add_argument(
        "--corpus",
        type=Path,
        default=HERE / "corpus",
        help="folder of Parquet files (default: corpus/ beside this script)",
    )
    arguments = parser.parse_args()
    built = build(arguments.out_dir.resolve(), corpus=arguments.corpus)
    print(f"{'built' if built else 'up to date'}: {arguments.out_dir}")


if __name__ == "__main__":
    main()
