"""Canary texts: proof that a server gives the vectors that a collection was made of."""

from collections.abc import Sequence

import numpy as np

from embed_index.pipeline.batch_isolation import Embedder
from embed_index.pipeline.tokenizing import ModelTokenizer
from embed_index.schemas.contract import Canary
from embed_index.schemas.errors import ContractError, ServerError
from embed_index.schemas.records import Vectors

MIN_COSINE = 0.999
"""bf16 on one engine gives 0.9999; another model revision or a missing end token far less."""

MAX_CANARY_TOKENS = 1024
"""A server must take inputs of this length, however short the chunks are."""

CANARY_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    (
        "Embedding models map text to vectors. 向量检索通过语义查找文档。"
        "المتجهات تمثل معنى النص. ベクトル検索は意味で文書を探します。"
    ),
    (
        "Before the pump is opened, close both valves, release the pressure and wait until the"
        " gauge shows zero. Remove the four bolts of the cover crosswise, lift the cover with its"
        " gasket and put both on a clean surface. Inspect the impeller for cracks, 0.2 mm at most,"
        " and replace it after 8,000 hours. Reassemble in reverse order; tighten the bolts to"
        " 25 Nm, again crosswise. Open the inlet first, vent the housing, then open the outlet and"
        " record the flow after ten minutes. A flow below 40 l/min points to air in the line or to"
        " a worn seal."
    ),
)


async def embed_canaries(
    embedder: Embedder,
    *,
    tokenizer: ModelTokenizer,
    dimension: int,
    texts: Sequence[str] = CANARY_TEXTS,
) -> tuple[Canary, ...]:
    """Embed the canary texts together and one by one, and return them with their vectors.

    Raises:
        ServerError: A text alone and the same text in a batch get different vectors.
    """
    ids = [tokenizer.encode_for_model(text) for text in texts]
    together = await embedder.embed(ids, dimension=dimension)
    for index, text_ids in enumerate(ids):
        alone = await embedder.embed([text_ids], dimension=dimension)
        cosine = _cosine(alone[0], together[index])
        if cosine < MIN_COSINE:
            raise ServerError(
                f"The embedding server gives a text alone and in a batch different vectors"
                f" (canary {index + 1}, cosine {cosine:.4f}).",
                remedy="Its batching or padding is at fault; start it with its default attention"
                " backend, or use another version.",
            )
    return tuple(
        Canary.from_vector(text, vector) for text, vector in zip(texts, together, strict=True)
    )


class CanaryGate:
    """Lets a server embed only if it gives the canaries the vectors of those before it.

    One gate serves all servers of a run, also those that are started again: they agree with the
    collection's contract or, where the collection is new, with the first of them.
    """

    def __init__(
        self, tokenizer: ModelTokenizer, *, dimension: int, version: str, known: Sequence[Canary]
    ) -> None:
        """Prepare the gate.

        Args:
            tokenizer: The model's tokenizer.
            dimension: Width of the vectors.
            version: The collection version that messages name.
            known: Canaries of the contract; empty for a new collection.
        """
        self._tokenizer = tokenizer
        self._dimension = dimension
        self._version = version
        self.canaries = tuple(known)
        """What every server must agree with; empty until the first server of a new collection."""

    async def prove(self, embedder: Embedder) -> None:
        """Embed the canaries and compare.

        Raises:
            ContractError: The server gives other vectors.
            ServerError: It cannot be used, or contradicts itself.
        """
        canaries = await embed_canaries(
            embedder, tokenizer=self._tokenizer, dimension=self._dimension
        )
        if not self.canaries:
            self.canaries = canaries
        check_canaries(canaries, known=self.canaries, version=self._version)


def check_canaries(canaries: Sequence[Canary], *, known: Sequence[Canary], version: str) -> None:
    """Compare the server's canary vectors with those that the collection is made with.

    Raises:
        ContractError: The server gives other vectors.
    """
    for index, (now, then) in enumerate(zip(canaries, known, strict=True), start=1):
        cosine = _cosine(now.to_vector(), then.to_vector())
        if cosine < MIN_COSINE:
            raise ContractError(
                f"{version}: the embedding server gives canary text {index} another vector than"
                f" when the collection was made (cosine {cosine:.4f}, at least {MIN_COSINE})",
                remedy="Model files, engine or precision changed. Restore them, or run with"
                " --rebuild to fill a new version.",
            )


def _cosine(a: Vectors, b: Vectors) -> float:
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))
