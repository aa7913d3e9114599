"""The Qwen3-Embedding prompt format.

Source: the model card of Qwen/Qwen3-Embedding: `Instruct: {task}` newline `Query:{query}`, with no
space after `Query:`. Documents carry no instruction unless one is asked for.
"""


def instruction_prompt(instruction: str) -> str:
    """Return what stands before a text; empty for an empty instruction."""
    return f"Instruct: {instruction}\nQuery:" if instruction else ""
