"""Hugging Face Transformers on token ids: the peer in speed, and in float32 the reference.

    python tests/benchmarks/transformers_peer.py speed MODEL IDS.npz --seconds 5
    python tests/benchmarks/transformers_peer.py vectors MODEL IDS.npz OUT.npy

A process of its own, so that the GPU's memory is free again afterwards. IDS.npz holds one array
of token ids per input, in the order of their names. `speed` prints one JSON line per length.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from embed_index.pipeline.server.cpu_platform import declare_torchvision_operators

BATCH_TOKENS = 32_768


def load(model: str, *, device: str, dtype: str) -> Any:
    import torch

    # Transformers imports torchvision, which CPU builds of torch cannot load as it is.
    declare_torchvision_operators()
    from transformers import Qwen3Model

    torch.backends.cuda.matmul.allow_tf32 = False
    # The keyword was renamed between versions; the checkpoint's own type is then changed.
    loaded = Qwen3Model.from_pretrained(model, attn_implementation="sdpa")
    return loaded.to(device=device, dtype=getattr(torch, dtype)).eval()


def embed(model: Any, batch: np.ndarray[Any, Any]) -> Any:
    """Return unit vectors of inputs of one length, pooled on the last token, as float32."""
    import torch

    ids = torch.from_numpy(batch.astype(np.int64)).to(model.device)
    with torch.inference_mode():
        hidden = model(input_ids=ids, use_cache=False).last_hidden_state[:, -1]
        return torch.nn.functional.normalize(hidden.float(), dim=-1).cpu().numpy()


def measure(model: Any, inputs: np.ndarray[Any, Any], *, seconds: float) -> dict[str, float]:
    """Embed distinct inputs of equal length without padding, batch after batch."""
    num_tokens = inputs.shape[1]
    per_batch = max(1, BATCH_TOKENS // num_tokens)
    batches = [inputs[i : i + per_batch] for i in range(0, len(inputs), per_batch)]
    full = [batch for batch in batches if len(batch) == per_batch] or batches
    embed(model, full[0])
    began = time.perf_counter()
    done = 0
    for batch in full[1:] or full:
        embed(model, batch)
        done += batch.size
        if time.perf_counter() - began > seconds:
            break
    return {"length": num_tokens, "tokens_per_second": done / (time.perf_counter() - began)}


def attend_without_grouping() -> None:
    """Keep float32 attention over 32,768 tokens out of the kernel that stores all scores.

    Grouped heads are only known to that one and to the half-precision kernels.
    """
    from transformers.integrations import sdpa_attention

    sdpa_attention.use_gqa_in_sdpa = lambda *_: False


def main() -> None:
    parser = argparse.ArgumentParser(description="Transformers on token ids.")
    parser.add_argument("task", choices=("speed", "vectors"))
    parser.add_argument("model")
    parser.add_argument("ids", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    inputs = np.load(options.ids)
    if options.task == "speed":
        model = load(options.model, device=options.device, dtype="bfloat16")
        for name in inputs.files:
            print(json.dumps(measure(model, inputs[name], seconds=options.seconds)), flush=True)
        return
    attend_without_grouping()
    model = load(options.model, device=options.device, dtype="float32")
    vectors = [embed(model, inputs[name][None])[0] for name in sorted(inputs.files)]
    np.save(options.out, np.stack(vectors))


if __name__ == "__main__":
    main()
