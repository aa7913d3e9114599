"""Several embedding servers as one: a request goes to the server with the least to do."""

from collections.abc import Sequence

from embed_index.pipeline.batch_isolation import Embedder
from embed_index.schemas.records import TokenIds, Vectors


class EmbedderPool:
    """Spreads requests over embedders by the tokens that each has in flight.

    A server that is being restarted keeps what it was given; with as many requests in flight as
    there are servers times what one needs, the others stay busy meanwhile. One that is gone for
    good fails its requests, and with them the run: half the speed is for people to choose.
    """

    def __init__(self, embedders: Sequence[Embedder]) -> None:
        if not embedders:
            raise ValueError("a pool needs an embedder")
        self._embedders = tuple(embedders)
        self._tokens_in_flight = [0] * len(embedders)

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        """Embed on the least busy server; raises what that one raises."""
        place = self._tokens_in_flight.index(min(self._tokens_in_flight))
        num_tokens = sum(ids.size for ids in token_ids)
        self._tokens_in_flight[place] += num_tokens
        try:
            return await self._embedders[place].embed(token_ids, dimension=dimension)
        finally:
            self._tokens_in_flight[place] -= num_tokens
