"""What one token costs a decoder model, by the sizes in its configuration. Arithmetic alone."""

from dataclasses import dataclass

_BYTES_AT_16_BITS = 2
_BYTES_AT_8_BITS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes of a Qwen3 model; two models of one shape are equally fast."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int

    @property
    def layer_weights(self) -> int:
        """Weights that every token is multiplied with, over all layers."""
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        projections = 2 * queries + 2 * keys + 3 * self.intermediate_size
        return self.num_layers * self.hidden_size * projections

    @property
    def token_flops(self) -> float:
        """Multiplications and additions for one token, attention apart."""
        return 2.0 * self.layer_weights

    @property
    def attention_flops(self) -> float:
        """The same of attention, for each token of a chunk and each of the chunk's tokens.

        Attention is causal: a token sees half of its chunk on average.
        """
        return 2.0 * self.num_layers * self.num_heads * self.head_dim

    def flops(self, *, num_tokens: float, sum_of_squares: float) -> float:
        """Return the work of many chunks, by the sum of their lengths and of the squares."""
        return self.token_flops * num_tokens + self.attention_flops * sum_of_squares

    def weight_bytes(self, *, vocab_size: int, precision: str) -> int:
        """Return about how much memory the weights take; embeddings stay at 16 bits."""
        each = _BYTES_AT_8_BITS if precision == "fp8" else _BYTES_AT_16_BITS
        return each * self.layer_weights + _BYTES_AT_16_BITS * vocab_size * self.hidden_size
