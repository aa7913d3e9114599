"""Ways to search a collection."""

from typing import Literal, TypeAlias

SearchMode: TypeAlias = Literal["dense", "text", "hybrid"]
"""By meaning, by words, or by both."""
