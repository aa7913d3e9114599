"""Bounds that outside systems set, and that more than one part of ours must keep."""

MAX_CONTEXT_TOKENS = 32_768
"""Of one input, instruction and end token included: what Qwen3-Embedding was trained on."""
MAX_HITS = 16_384
"""Rows that one search or query of Milvus returns."""

LFS_POINTER = b"version https://git-lfs"
"""How a file begins that Git LFS has not fetched: it only says where its content is."""
MAX_SECONDS = 86_400
"""That a setting may ask to wait."""
MAX_DAYS = 36_500
