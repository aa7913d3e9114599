"""The sample checkpoint: Qwen3's format, and vectors that find the right documents.

The vectors are computed here from the stored weights alone, following Qwen3's forward pass for a
model whose query projection is zero. That a server agrees is a matter of the server's tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

SAMPLE_DATA = Path(__file__).resolve().parents[2] / "sample_data"
SCRIPT = SAMPLE_DATA / "build_model.py"
FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
QUERY_PROMPT = (
    "Instruct: Given a search query, retrieve relevant passages that answer the query\nQuery:"
)
MAX_TOKENS = 512
LAYER = "model.layers.0"

Floats = npt.NDArray[np.float32]


def build(out_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(out_dir), *options],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "sample"
    finished = build(folder)
    assert finished.returncode == 0, finished.stderr
    return folder


def read_weights(path: Path) -> dict[str, Floats]:
    """Read bfloat16 tensors, which numpy does not know, as float32."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    weights = {}
    for name, entry in json.loads(content[8:start]).items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "BF16"
        begin, end = entry["data_offsets"]
        halves = np.frombuffer(content[start + begin : start + end], dtype="<u2")
        weights[name] = (halves.astype("<u4") << 16).view("<f4").reshape(entry["shape"])
    return weights


def rms_norm(states: Floats, weight: Floats) -> Floats:
    scale = np.sqrt(np.square(states).mean(axis=-1, keepdims=True) + 1e-6)
    return np.asarray(states / scale * weight, dtype=np.float32)


@dataclass(frozen=True)
class NumpyModel:
    tokenizer: Tokenizer
    weights: dict[str, Floats]

    @classmethod
    def load(cls, folder: Path) -> NumpyModel:
        return cls(
            Tokenizer.from_file(str(folder / "tokenizer.json")),
            read_weights(folder / "model.safetensors"),
        )

    @property
    def end_token(self) -> int:
        end = self.tokenizer.token_to_id("<|endoftext|>")
        assert end is not None
        return end

    def pooled(self, ids: list[int]) -> Floats:
        """Return the last position's hidden state, neither cut nor normalised."""
        states = self.weights["model.embed_tokens.weight"][ids]
        mean = rms_norm(states, self.weights[f"{LAYER}.input_layernorm.weight"]).mean(axis=0)
        attended = (
            self.weights[f"{LAYER}.self_attn.o_proj.weight"]
            @ self.weights[f"{LAYER}.self_attn.v_proj.weight"]
            @ mean
        )
        return rms_norm(states[-1] + attended, self.weights["model.norm.weight"])

    def embed(self, texts: list[list[int]], *, dimension: int) -> Floats:
        return cut(np.stack([self.pooled(ids) for ids in texts]), dimension=dimension)


def cut(states: Floats, *, dimension: int) -> Floats:
    """Cut and then normalise, as a Matryoshka model asks for."""
    vectors = states[:, :dimension]
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> NumpyModel:
    return NumpyModel.load(checkpoint)


@pytest.fixture(scope="module")
def chunks(model: NumpyModel) -> list[tuple[str, list[int]]]:
    """The whole corpus in chunks of at most `MAX_TOKENS` tokens, end token included."""
    end = model.end_token
    found: list[tuple[str, list[int]]] = []
    for path in sorted((SAMPLE_DATA / "corpus").glob("*.parquet")):
        for row in pq.read_table(path, columns=["id", "text"]).to_pylist():
            if row["id"] and row["text"] and row["text"].strip():
                ids = model.tokenizer.encode(row["text"], add_special_tokens=False).ids
                found += [
                    (row["id"], [*ids[start : start + MAX_TOKENS - 1], end])
                    for start in range(0, len(ids), MAX_TOKENS - 1)
                ]
    return found


@pytest.fixture(scope="module")
def chunk_states(model: NumpyModel, chunks: list[tuple[str, list[int]]]) -> Floats:
    return np.stack([model.pooled(ids) for _, ids in chunks])


@pytest.fixture(scope="module")
def queries() -> list[tuple[str, set[str]]]:
    lines = (SAMPLE_DATA / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [(line["query"], set(line["doc_ids"])) for line in map(json.loads, lines)]


def test_the_config_is_that_of_a_qwen3_causal_model(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))

    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["model_type"] == "qwen3"
    assert config["max_position_embeddings"] == 32768
    assert config["rope_theta"] == 1_000_000
    assert config["num_attention_heads"] * config["head_dim"] == config["hidden_size"]
    assert config["num_key_value_heads"] == config["num_attention_heads"]


def test_every_tensor_of_the_architecture_is_there_and_finite(
    checkpoint: Path, model: NumpyModel
) -> None:
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    hidden, head = config["hidden_size"], config["head_dim"]
    square = (hidden, hidden)
    wanted = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
        f"{LAYER}.input_layernorm.weight": (hidden,),
        f"{LAYER}.post_attention_layernorm.weight": (hidden,),
        f"{LAYER}.self_attn.q_norm.weight": (head,),
        f"{LAYER}.self_attn.k_norm.weight": (head,),
        **{f"{LAYER}.self_attn.{name}_proj.weight": square for name in "qkvo"},
        **{f"{LAYER}.mlp.{name}_proj.weight": square for name in ("gate", "up", "down")},
    }

    assert {name: tensor.shape for name, tensor in model.weights.items()} == wanted
    assert all(np.isfinite(tensor).all() for tensor in model.weights.values())


def test_what_the_numpy_forward_pass_leaves_out_is_zero(model: NumpyModel) -> None:
    assert not model.weights[f"{LAYER}.self_attn.q_proj.weight"].any()
    assert not model.weights[f"{LAYER}.mlp.down_proj.weight"].any()


def test_a_text_ends_with_the_token_that_the_model_pools_on(model: NumpyModel) -> None:
    end = model.end_token

    assert model.tokenizer.encode("The printer jams").ids[-1] == end
    assert model.tokenizer.encode("").ids == [end]
    assert end not in model.tokenizer.encode("The printer jams", add_special_tokens=False).ids


def test_special_tokens_are_recognised_in_a_text(model: NumpyModel) -> None:
    tokens = model.tokenizer.encode("<|im_start|>user<|im_end|>", add_special_tokens=False).tokens

    assert (tokens[0], tokens[-1]) == ("<|im_start|>", "<|im_end|>")


def test_the_vocabulary_is_as_large_as_the_embedding_table(
    checkpoint: Path, model: NumpyModel
) -> None:
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))

    assert model.tokenizer.get_vocab_size() == config["vocab_size"] == 8192


def test_decomposed_accents_give_the_tokens_of_composed_ones(model: NumpyModel) -> None:
    decomposed = unicodedata.normalize("NFD", "crème brûlée à la façon d'Amélie")
    composed = unicodedata.normalize("NFC", decomposed)

    assert decomposed != composed
    assert model.tokenizer.encode(decomposed).ids == model.tokenizer.encode(composed).ids


@pytest.mark.parametrize(
    "text",
    [
        "tabs\tand\r\nline ends",
        "打印机卡纸了",
        "👨‍👩‍👧‍👦 and 🏴󠁧󠁢󠁷󠁬󠁳󠁿",
        "الطابعة",
        "never seen: ѣ ᚠ ᠮ",
        " 12345 ",
    ],
)
def test_any_text_survives_the_round_trip(model: NumpyModel, text: str) -> None:
    assert model.tokenizer.decode(model.tokenizer.encode(text).ids) == text


def test_the_longest_document_has_over_one_hundred_thousand_tokens(
    chunks: list[tuple[str, list[int]]],
) -> None:
    lengths = [len(ids) - 1 for owner, ids in chunks if owner == "long-harbour-handbook"]

    assert sum(lengths) > 100_000


def test_building_twice_gives_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "again").returncode == 0

    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (checkpoint / name).read_bytes(), name


def test_a_second_build_touches_nothing(checkpoint: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in checkpoint.iterdir()}

    finished = build(checkpoint)

    assert finished.stdout == f"up to date: {checkpoint}\n"
    assert {path: path.stat().st_mtime_ns for path in checkpoint.iterdir()} == before


def test_a_damaged_model_is_built_again(checkpoint: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(checkpoint, damaged)
    os.truncate(damaged / "model.safetensors", 1000)

    finished = build(damaged)

    assert finished.stdout == f"built: {damaged}\n"
    for name in FILES:
        assert (damaged / name).read_bytes() == (checkpoint / name).read_bytes(), name
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


def test_another_corpus_gives_another_model(checkpoint: Path, tmp_path: Path) -> None:
    corpus, changed = tmp_path / "corpus", tmp_path / "changed"
    corpus.mkdir()
    texts = ["A fox reads the tide table.", "A heron repairs the clock.", "狐狸在看潮汐表。"]
    pq.write_table(pa.table({"text": texts}), corpus / "small.parquet")
    shutil.copytree(checkpoint, changed)

    finished = build(changed, "--corpus", str(corpus))

    assert finished.stdout == f"built: {changed}\n"
    small = NumpyModel.load(changed)
    vectors = small.embed([small.tokenizer.encode(text).ids for text in texts], dimension=32)
    assert np.isfinite(vectors).all()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter one", encoding="utf-8")

    finished = build(tmp_path)

    assert finished.returncode != 0
    assert "was not built by this script" in finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("dimension", "at_least"), [(512, 0.95), (256, 0.95), (64, 0.9)])
def test_queries_find_their_documents_among_the_five_nearest_chunks(
    model: NumpyModel,
    chunks: list[tuple[str, list[int]]],
    chunk_states: Floats,
    queries: list[tuple[str, set[str]]],
    dimension: int,
    at_least: float,
) -> None:
    documents = cut(chunk_states, dimension=dimension)
    asked = [model.tokenizer.encode(QUERY_PROMPT + query).ids for query, _ in queries]
    nearest = np.argsort(-(model.embed(asked, dimension=dimension) @ documents.T), axis=1)[:, :5]

    missed = [
        query
        for (query, wanted), row in zip(queries, nearest, strict=True)
        if not wanted & {chunks[position][0] for position in row}
    ]

    assert 1 - len(missed) / len(queries) >= at_least, missed


WORDS = [
    *("printer", "refund", "certificate", "espresso", "invoice", "VPN", "projector", "backup"),
    *("payroll", "greenhouse", "password", "badge", "descaling", "generator", "elevator"),
    *("firmware", "drone", "telescope", "freezer", "phishing"),
]


@pytest.mark.parametrize("dimension", [512, 256])
def test_queries_of_one_word_find_texts_with_that_word(
    model: NumpyModel,
    chunks: list[tuple[str, list[int]]],
    chunk_states: Floats,
    dimension: int,
) -> None:
    documents = cut(chunk_states, dimension=dimension)
    asked = [model.tokenizer.encode(QUERY_PROMPT + word).ids for word in WORDS]
    nearest = np.argsort(-(model.embed(asked, dimension=dimension) @ documents.T), axis=1)[:, :5]
    texts = [model.tokenizer.decode(ids).casefold() for _, ids in chunks]

    missed = [
        word
        for word, row in zip(WORDS, nearest, strict=True)
        if not any(word.casefold() in texts[position] for position in row)
    ]

    assert len(WORDS) == 20
    assert 1 - len(missed) / len(WORDS) >= 0.9, missed


def test_a_word_means_the_same_with_and_without_a_space_before_it(model: NumpyModel) -> None:
    spaced, bare = model.embed(
        [
            model.tokenizer.encode(QUERY_PROMPT + text).ids
            for text in (" greenhouse certificate", "greenhouse certificate")
        ],
        dimension=512,
    )

    assert float(spaced @ bare) > 0.99


def test_the_usual_instruction_does_not_change_the_vector_of_a_query(model: NumpyModel) -> None:
    plain, prompted = model.embed(
        [model.tokenizer.encode(text + " printer jams").ids for text in ("", QUERY_PROMPT)],
        dimension=512,
    )

    assert float(plain @ prompted) > 0.999


def test_texts_on_one_subject_are_closer_than_texts_on_two(model: NumpyModel) -> None:
    jam, streaks, bees = model.embed(
        [
            model.tokenizer.encode(text).ids
            for text in (
                "The printer jams at the fuser.",
                "Toner streaks on every printed page.",
                "The colony swarmed and the beehive lost weight.",
            )
        ],
        dimension=64,
    )

    assert float(jam @ streaks) > float(jam @ bees) + 0.1
