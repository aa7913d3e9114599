"""Write a Qwen3-Embedding checkpoint of true shape with random weights, and a small tokenizer.

    python tests/benchmarks/make_model.py 4b /tmp/models/4b        # 15 s on a GPU; 0.6b takes 3 s

Speed and memory depend on shapes, not on weights, so the real server is measured where the
published weights cannot be had. Weights are drawn wide enough that different inputs get different
vectors, so that a comparison with a float32 reference means something.
"""

import argparse
import json
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path

from embed_index.pipeline.server.cpu_platform import declare_torchvision_operators

TOKENIZER_VOCABULARY = 8192
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of one published model."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int = 8
    head_dim: int = 128
    vocab_size: int
    max_position_embeddings: int
    tie_word_embeddings: bool = True

    def flops_per_token(self, num_tokens: int) -> float:
        """Multiplications and additions for one token of an input of that length.

        Matrix products, and causal attention, which sees half of the input on average; the output
        layer is not used for embedding.
        """
        queries = self.num_attention_heads * self.head_dim
        keys = self.num_key_value_heads * self.head_dim
        weights = self.hidden_size * (2 * queries + 2 * keys + 3 * self.intermediate_size)
        attention = 2 * queries * num_tokens / 2
        return 2.0 * self.num_hidden_layers * (weights + attention)


SHAPES = {
    "tiny": Shape(
        hidden_size=512,
        intermediate_size=512,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=128,
        vocab_size=TOKENIZER_VOCABULARY,
        max_position_embeddings=32_768,
    ),
    "0.6b": Shape(
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        vocab_size=151_669,
        max_position_embeddings=32_768,
    ),
    "4b": Shape(
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        vocab_size=151_665,
        max_position_embeddings=40_960,
    ),
    "8b": Shape(
        hidden_size=4096,
        intermediate_size=12_288,
        num_hidden_layers=36,
        num_attention_heads=32,
        vocab_size=151_665,
        max_position_embeddings=40_960,
        tie_word_embeddings=False,
    ),
}


def write_model(shape: Shape, folder: Path, *, device: str) -> None:
    import torch

    # Transformers imports torchvision, which CPU builds of torch cannot load as it is.
    declare_torchvision_operators()
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        rope_theta=1e6, rms_norm_eps=1e-6, bos_token_id=0, eos_token_id=0, **asdict(shape)
    )
    config.architectures = ["Qwen3ForCausalLM"]
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                spread = 1.0 if "embed" in name else 0.7 / parameter.shape[1] ** 0.5
                torch.nn.init.normal_(parameter, std=spread)
    model.save_pretrained(folder)


def write_tokenizer(folder: Path) -> None:
    from tokenizers import (
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:200]
    trainer = trainers.BpeTrainer(  # type: ignore[no-untyped-call]
        vocab_size=TOKENIZER_VOCABULARY,
        special_tokens=[END_OF_TEXT, "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((path.read_text(errors="ignore") for path in sources), trainer)
    end = tokenizer.token_to_id(END_OF_TEXT)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END_OF_TEXT}",
        pair=f"$A $B {END_OF_TEXT}",
        special_tokens=[(END_OF_TEXT, end)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": END_OF_TEXT,
        "model_max_length": 32_768,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a model of true shape, random weights.")
    parser.add_argument("size", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    write_model(SHAPES[options.size], options.folder, device=options.device)
    write_tokenizer(options.folder)
    print(f"{options.size} written to {options.folder}")


if __name__ == "__main__":
    main()
