"""What of the OpenAI embeddings protocol a server understands."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerDialect:
    """How requests to a server are put, and what its replies tell."""

    cuts: bool = True
    """Whether it cuts vectors to the dimension asked for; otherwise they are cut here."""
    takes_base64: bool = True
    """Whether it may be asked for base64; otherwise vectors come as lists of numbers."""
    counts_tokens: bool = False
    """Whether replies say how many tokens the model saw, so that a cut input is noticed."""
